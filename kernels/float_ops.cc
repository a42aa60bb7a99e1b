#include "kernels/float_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/unroll.h"

// Compiled once for each instruction set, which CMake names.
namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr size_t kLanes = 16;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats Load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The first n < 16 lanes; the rest are `fill`.
inline Floats LoadPart(const float* p, size_t n, float fill) {
  Floats v = Floats{} + fill;
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

inline void Store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline void StorePart(float* p, Floats v, size_t n) { std::memcpy(p, &v, n * sizeof(float)); }

inline Floats Select(Ints condition, Floats yes, Floats no) {
  return reinterpret_cast<Floats>((condition & reinterpret_cast<Ints>(yes)) |
                                  (~condition & reinterpret_cast<Ints>(no)));
}

inline Floats Max(Floats a, Floats b) { return Select(a > b, a, b); }

// Halves the lanes with `combine` until one is left: lane i with lane i + 8, then with i + 4, i + 2, i + 1.
template <typename F>
inline float Reduce(Floats v, F combine) {
  const auto eight = combine(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
  const auto four =
      combine(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
  const auto two = combine(four, __builtin_shufflevector(four, four, 2, 3, 0, 1));
  return combine(two, __builtin_shufflevector(two, two, 1, 0, 3, 2))[0];
}

inline float Sum(Floats v) {
  return Reduce(v, [](auto a, auto b) { return a + b; });
}

inline float Largest(Floats v) {
  return Reduce(v, [](auto a, auto b) { return a > b ? a : b; });
}

// Lanes [W, 2W) of each run of 2W lanes of a and b folded onto the runs' first halves, which then stand side by side.
template <int W>
inline Floats Fold(Floats a, Floats b) {
  constexpr auto lane = [](int i, int upper) { return i / W * 2 * W + i % W + upper; };
  return __builtin_shufflevector(a, b, lane(0, 0), lane(1, 0), lane(2, 0), lane(3, 0), lane(4, 0), lane(5, 0),
                                 lane(6, 0), lane(7, 0), lane(8, 0), lane(9, 0), lane(10, 0), lane(11, 0), lane(12, 0),
                                 lane(13, 0), lane(14, 0), lane(15, 0)) +
         __builtin_shufflevector(a, b, lane(0, W), lane(1, W), lane(2, W), lane(3, W), lane(4, W), lane(5, W),
                                 lane(6, W), lane(7, W), lane(8, W), lane(9, W), lane(10, W), lane(11, W), lane(12, W),
                                 lane(13, W), lane(14, W), lane(15, W));
}

// Lane r of the result is Sum(v[r]), the same additions in the same order, sixteen at a time.
inline Floats Sums(const Floats* v) {
  Floats eights[8], fours[4];
  Unroll<8>([&](auto i) { eights[i] = Fold<8>(v[2 * i], v[2 * i + 1]); });
  Unroll<4>([&](auto i) { fours[i] = Fold<4>(eights[2 * i], eights[2 * i + 1]); });
  return Fold<1>(Fold<2>(fours[0], fours[1]), Fold<2>(fours[2], fours[3]));
}

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by a polynomial of degree 6; relative error below 2e-7 on [-87, 88],
// and 0 below -87.
inline Floats Exp(Floats x) {
  const Floats clamped = Max(x, Floats{} - 87.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = clamped * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = Floats{} + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Ints exponent = (reinterpret_cast<Ints>(shifted) - reinterpret_cast<Ints>(Floats{} + kRound)) << 23;
  const Floats result = reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + exponent);
  return Select(x < -87.0f, Floats{}, result);
}

// f(vector, number of valid lanes) over x[0 .. n), the missing lanes of the last vector being `fill`.
template <typename F>
inline void ForEach(const float* x, size_t n, float fill, F f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Load(x + i), kLanes);
  if (i < n) f(i, LoadPart(x + i, n - i, fill), n - i);
}

// The same, the results being written to out.
template <typename F>
inline void Map(const float* x, size_t n, float* out, F f) {
  ForEach(x, n, 0.0f, [&](size_t i, Floats v, size_t valid) {
    const Floats result = f(i, v, valid);
    if (valid == kLanes) {
      Store(out + i, result);
    } else {
      StorePart(out + i, result, valid);
    }
  });
}

inline Floats LoadUpTo(const float* p, size_t valid) { return valid == kLanes ? Load(p) : LoadPart(p, valid, 0.0f); }

void Add(float* x, const float* y, size_t n) {
  Map(x, n, x, [&](size_t i, Floats v, size_t valid) { return v + LoadUpTo(y + i, valid); });
}

void LayerNorm(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* out) {
  Floats sums{};
  ForEach(x, n, 0.0f, [&](size_t, Floats v, size_t) { sums += v; });
  const float mean = Sum(sums) / static_cast<float>(n);
  Floats squares{};
  ForEach(x, n, mean, [&](size_t, Floats v, size_t) { squares += (v - mean) * (v - mean); });
  const float inverse = 1.0f / std::sqrt(Sum(squares) / static_cast<float>(n) + epsilon);
  Map(x, n, out, [&](size_t i, Floats v, size_t valid) {
    return (v - mean) * inverse * LoadUpTo(gain + i, valid) + LoadUpTo(bias + i, valid);
  });
}

void Activate(Activation activation, float* x, size_t n) {
  switch (activation) {
    case Activation::kRelu:
      return Map(x, n, x, [](size_t, Floats v, size_t) { return Max(v, Floats{}); });
    case Activation::kSwish:
      return Map(x, n, x, [](size_t, Floats v, size_t) { return v / (Exp(-v) + 1.0f); });
    case Activation::kGelu:
      for (size_t i = 0; i < n; ++i) x[i] = 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.70710678f));
      return;
  }
}

float LogSumExp(const float* x, size_t n, float maximum) {
  Floats sums{};
  ForEach(x, n, kLowest, [&](size_t, Floats v, size_t) { sums += Exp(v - maximum); });
  return maximum + std::log(Sum(sums));
}

size_t Padded(size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// In place over x[0 .. Padded(n)): what lies from n on becomes zero.
void Softmax(float* x, size_t n) {
  std::fill(x + n, x + Padded(n), kLowest);
  Floats largest = Load(x);
  for (size_t i = kLanes; i < n; i += kLanes) largest = Max(largest, Load(x + i));
  const float maximum = Largest(largest);
  Floats sums{};
  for (size_t i = 0; i < n; i += kLanes) {
    const Floats e = Exp(Load(x + i) - maximum);
    sums += e;
    Store(x + i, e);
  }
  const float inverse = 1.0f / Sum(sums);
  for (size_t i = 0; i < n; i += kLanes) Store(x + i, Load(x + i) * inverse);
}

// scores[t] = scale * q . keys[t], for the sixteen or fewer keys from t on; the scores of missing ones are anything.
void ScoresOfSixteen(const float* q, const float* const* keys, size_t rows, size_t offset, size_t head_dim, float scale,
                     float* scores) {
  Floats sums[kLanes] = {};
  for (size_t i = 0; i < head_dim; i += kLanes) {
    const size_t valid = std::min(kLanes, head_dim - i);
    const Floats part = LoadUpTo(q + i, valid);
    for (size_t r = 0; r < rows; ++r) sums[r] += part * LoadUpTo(keys[r] + offset + i, valid);
  }
  Store(scores, Sums(sums) * scale);
}

void Attend(const float* q, const float* const* keys, const float* const* values, size_t length, size_t heads,
            size_t head_dim, float scale, float* scores, float* out) {
  for (size_t h = 0; h < heads; ++h) {
    const size_t head = h * head_dim;
    for (size_t t = 0; t < length; t += kLanes) {
      ScoresOfSixteen(q + head, keys + t, std::min(kLanes, length - t), head, head_dim, scale, scores + t);
    }
    Softmax(scores, length);
    for (size_t i = head; i < head + head_dim; i += kLanes) {
      const size_t valid = std::min(kLanes, head + head_dim - i);
      Floats sums{};
      for (size_t t = 0; t < length; ++t) sums += LoadUpTo(values[t] + i, valid) * scores[t];
      StorePart(out + i, sums, valid);
    }
  }
}

// R rows of scores of one head: scores[r * padded + t] = scale * q_r . k_t, from keys [head_dim, padded].
template <size_t R>
void Scores(const float* q, size_t d, const float* keys, size_t head_dim, size_t padded, float scale, float* scores) {
  for (size_t t = 0; t < padded; t += kLanes) {
    Floats sums[R];
    Unroll<R>([&](auto r) { sums[r] = Floats{}; });
    for (size_t i = 0; i < head_dim; ++i) {
      const Floats key = Load(keys + i * padded + t);
      Unroll<R>([&](auto r) { sums[r] += key * q[r * d + i]; });
    }
    Unroll<R>([&](auto r) { Store(scores + r * padded + t, sums[r] * scale); });
  }
}

// R rows of one head's output from their softmaxed scores.
template <size_t R>
void WeightValues(const float* scores, size_t padded, const float* v, size_t d, size_t length, size_t head_dim,
                  float* out) {
  for (size_t i = 0; i < head_dim; i += kLanes) {
    const size_t valid = std::min(kLanes, head_dim - i);
    Floats sums[R];
    Unroll<R>([&](auto r) { sums[r] = Floats{}; });
    for (size_t t = 0; t < length; ++t) {
      const Floats value = LoadUpTo(v + t * d + i, valid);
      Unroll<R>([&](auto r) { sums[r] += value * scores[r * padded + t]; });
    }
    Unroll<R>([&](auto r) { StorePart(out + r * d + i, sums[r], valid); });
  }
}

template <size_t R>
void AttendRows(const float* q, const float* keys, const float* v, size_t d, size_t length, size_t padded,
                size_t head_dim, float scale, float* scores, float* out) {
  Scores<R>(q, d, keys, head_dim, padded, scale, scores);
  for (size_t r = 0; r < R; ++r) Softmax(scores + r * padded, length);
  WeightValues<R>(scores, padded, v, d, length, head_dim, out);
}

// keys[head_dim, padded] from k[length, head_dim] with rows d apart, in tiles that stay in registers and first-level
// cache; zeros from `length` on.
void Transpose(const float* k, size_t d, size_t length, size_t padded, size_t head_dim, float* keys) {
  for (size_t t = 0; t < padded; t += kLanes) {
    const size_t rows = std::min(kLanes, length - t);
    for (size_t i = 0; i < head_dim; ++i) {
      Floats column{};
      for (size_t r = 0; r < rows; ++r) column[r] = k[(t + r) * d + i];
      Store(keys + i * padded + t, column);
    }
  }
}

void AttendAll(const float* q, const float* k, const float* v, size_t length, size_t heads, size_t head_dim,
               float scale, float* scratch, float* out) {
  const size_t d = heads * head_dim, padded = (length + kLanes - 1) / kLanes * kLanes;
  float *keys = scratch, *scores = scratch + head_dim * padded;
  for (size_t h = 0; h < heads; ++h) {
    const size_t head = h * head_dim;
    Transpose(k + head, d, length, padded, head_dim, keys);
    size_t t = 0;
    for (; t + 4 <= length; t += 4) {
      const size_t row = t * d + head;
      AttendRows<4>(q + row, keys, v + head, d, length, padded, head_dim, scale, scores, out + row);
    }
    for (; t < length; ++t) {
      const size_t row = t * d + head;
      AttendRows<1>(q + row, keys, v + head, d, length, padded, head_dim, scale, scores, out + row);
    }
  }
}

void TopK(const float* x, size_t n, size_t k, int32_t* indices, float* values) {
  // A short sorted list; a stretch without a value above its last entry is passed over at once.
  constexpr size_t kStretch = 8 * kLanes;
  size_t found = 0;
  float threshold = kLowest;
  for (size_t first = 0; first < n; first += kStretch) {
    const size_t end = std::min(n, first + kStretch);
    if (found == k && end - first == kStretch) {
      Floats largest = Load(x + first);
      for (size_t i = first + kLanes; i < end; i += kLanes) largest = Max(largest, Load(x + i));
      if (!(Largest(largest) > threshold)) continue;
    }
    for (size_t i = first; i < end; ++i) {
      if (found == k && !(x[i] > threshold)) continue;
      size_t place = found < k ? found++ : k - 1;
      for (; place > 0 && x[i] > values[place - 1]; --place) {
        values[place] = values[place - 1];
        indices[place] = indices[place - 1];
      }
      values[place] = x[i];
      indices[place] = static_cast<int32_t>(i);
      threshold = values[found - 1];
    }
  }
}

}  // namespace

extern const FloatOps kFloatOps;
const FloatOps kFloatOps = {Add, LayerNorm, Activate, Attend, AttendAll, LogSumExp, TopK};

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
