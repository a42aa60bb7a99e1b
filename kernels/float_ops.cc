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
  const auto four = combine(__builtin_shufflevector(eight, eight, 0, 1, 2, 3),
                            __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
  const auto two = combine(four, __builtin_shufflevector(four, four, 2, 3, 0, 1));
  return combine(two, __builtin_shufflevector(two, two, 1, 0, 3, 2))[0];
}

inline float Sum(Floats v) {
  return Reduce(v, [](auto a, auto b) { return a + b; });
}

inline float Largest(Floats v) {
  return Reduce(v, [](auto a, auto b) { return a > b ? a : b; });
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

float LogSumExp(const float* x, size_t n) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  Floats largest = Floats{} + kLowest;
  ForEach(x, n, kLowest, [&](size_t, Floats v, size_t) { largest = Max(largest, v); });
  const float maximum = Largest(largest);
  Floats sums{};
  ForEach(x, n, kLowest, [&](size_t, Floats v, size_t) { sums += Exp(v - maximum); });
  return maximum + std::log(Sum(sums));
}

void Softmax(float* x, size_t n) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  Floats largest = Floats{} + kLowest;
  ForEach(x, n, kLowest, [&](size_t, Floats v, size_t) { largest = Max(largest, v); });
  const float maximum = Largest(largest);
  Floats sums{};
  ForEach(x, n, kLowest, [&](size_t i, Floats v, size_t valid) {
    const Floats e = Exp(v - maximum);
    sums += e;
    StorePart(x + i, e, valid);
  });
  const float inverse = 1.0f / Sum(sums);
  Map(x, n, x, [&](size_t, Floats v, size_t) { return v * inverse; });
}

float Dot(const float* a, const float* b, size_t n) {
  Floats sums{};
  ForEach(a, n, 0.0f, [&](size_t i, Floats v, size_t valid) { sums += v * LoadUpTo(b + i, valid); });
  return Sum(sums);
}

void Attend(const float* q, const float* const* keys, const float* const* values, size_t length, size_t heads,
            size_t head_dim, float scale, float* scratch, float* out) {
  for (size_t t = 0; t < length; ++t) {
    for (size_t h = 0; h < heads; ++h) {
      scratch[h * length + t] = Dot(q + h * head_dim, keys[t] + h * head_dim, head_dim) * scale;
    }
  }
  for (size_t h = 0; h < heads; ++h) Softmax(scratch + h * length, length);
  for (size_t h = 0; h < heads; ++h) {
    const float* weights = scratch + h * length;
    for (size_t i = 0; i < head_dim; i += kLanes) {
      const size_t valid = std::min(kLanes, head_dim - i);
      Floats sums{};
      for (size_t t = 0; t < length; ++t) sums += LoadUpTo(values[t] + h * head_dim + i, valid) * weights[t];
      StorePart(out + h * head_dim + i, sums, valid);
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
  // A short sorted list; a vector without a value above its last entry is passed over at once.
  size_t found = 0;
  float threshold = -std::numeric_limits<float>::infinity();
  ForEach(x, n, -std::numeric_limits<float>::infinity(), [&](size_t first, Floats v, size_t valid) {
    if (found == k && !(Largest(v) > threshold)) return;
    for (size_t lane = 0; lane < valid; ++lane) {
      const float value = v[lane];
      if (found == k && !(value > threshold)) continue;
      size_t place = found < k ? found++ : k - 1;
      for (; place > 0 && value > values[place - 1]; --place) {
        values[place] = values[place - 1];
        indices[place] = indices[place - 1];
      }
      values[place] = value;
      indices[place] = static_cast<int32_t>(first + lane);
      threshold = values[found - 1];
    }
  });
}

}  // namespace

extern const FloatOps kFloatOps;
const FloatOps kFloatOps = {Add, LayerNorm, Activate, Attend, AttendAll, LogSumExp, TopK};

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
