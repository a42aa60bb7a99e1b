#include "kernels/floats/float_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/floats/lanes.h"
#include "kernels/floats/unroll.h"

// Compiled once for each instruction set, as namespace SUB3_ISA_NAMESPACE.
namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by a polynomial of degree 6; relative error below 2e-7 on [-87, 88],
// and 0 below -87. x <= 88.
inline Register Exp(Register x) {
  const Register clamped = x > -87.0f ? x : Register{} - 87.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Register shifted = clamped * 1.44269504f + kRound;
  const Register n = shifted - kRound;
  const Register r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Register p = Register{} + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const IntRegister exponent =
      (reinterpret_cast<IntRegister>(shifted) - reinterpret_cast<IntRegister>(Register{} + kRound)) << 23;
  const Register result = reinterpret_cast<Register>(reinterpret_cast<IntRegister>(p) + exponent);
  return x < -87.0f ? Register{} : result;
}

inline Floats Exp(const Floats& x) {
  return Each(x, [](Register v) { return Exp(v); });
}

// ln x of a normal x > 0 in double: x = m 2^e, m in [0.70, 1.41], ln m = 2 artanh((m - 1) / (m + 1)), relative error
// below 1e-10. Not std::log: libraries differ.
double Log(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  constexpr uint32_t kLeast = 0x3f333333;  // 0.7
  const int32_t exponent = static_cast<int32_t>(bits - kLeast) >> 23;
  bits -= static_cast<uint32_t>(exponent) << 23;
  std::memcpy(&x, &bits, sizeof bits);
  const double z = (static_cast<double>(x) - 1) / (static_cast<double>(x) + 1), square = z * z;
  double series = 0;
  for (int k = 15; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return exponent * 0.69314718055994531 + 2 * z * series;
}

// x (1 + erf(x / sqrt 2)) / 2, erfc by Abramowitz and Stegun 7.1.26: absolute error of erf below 3e-7.
inline Register Gelu(Register x) {
  const Register z = (x < 0.0f ? -x : x) * 0.70710678f;
  const Register t = 1.0f / (z * 0.3275911f + 1.0f);
  Register p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Register erfc = p * t * Exp(-(z * z));
  return x * 0.5f * (x < 0.0f ? erfc : 2.0f - erfc);
}

// Calls f(index, vector, number of valid lanes) over x[0 .. n); missing lanes of the last vector are `fill`.
template <typename F>
inline void ForEach(const float* x, size_t n, float fill, F f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Load(x + i), kLanes);
  if (i < n) f(i, LoadPart(x + i, n - i, fill), n - i);
}

// The same; writes the results to out.
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
      return Map(x, n, x, [](size_t, Floats v, size_t) { return v / (Exp(-Max(v, -88.0f)) + 1.0f); });
    case Activation::kGelu:
      return Map(x, n, x, [](size_t, Floats v, size_t) { return Each(v, [](Register r) { return Gelu(r); }); });
  }
}

void Ssru(const float* forget, const float* candidate, const float* previous, size_t n, float* state, float* out) {
  Map(forget, n, state, [&](size_t i, Floats v, size_t valid) {
    const Floats kept = 1.0f / (Exp(-Max(v, -88.0f)) + 1.0f);
    return kept * LoadUpTo(previous + i, valid) + (1.0f - kept) * LoadUpTo(candidate + i, valid);
  });
  Map(state, n, out, [](size_t, Floats v, size_t) { return Max(v, Floats{}); });
}

float LogSumExp(const float* x, size_t n, float maximum) {
  Floats sums{};
  ForEach(x, n, kLowest, [&](size_t, Floats v, size_t) { sums += Exp(v - maximum); });
  return maximum + static_cast<float>(Log(Sum(sums)));
}

size_t Padded(size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// In place over x[0 .. Padded(n)); zeros from n on.
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

// scores[t] = scale * q . keys[t] for sixteen keys.
void ScoresOfSixteen(const float* q, const float* const* keys, size_t offset, size_t head_dim, float scale,
                     float* scores) {
  Floats sums[kLanes];
  for (size_t i = 0; i < head_dim; i += kLanes) {
    const size_t valid = std::min(kLanes, head_dim - i);
    const Floats part = LoadUpTo(q + i, valid);
    Unroll<kLanes>([&](auto r) { sums[r] += part * LoadUpTo(keys[r] + offset + i, valid); });
  }
  Store(scores, Sums(sums) * scale);
}

// f(number of vectors, first lane, valid lanes of the last vector) over the lanes begin to end: V vectors at a time,
// then half as many, then a quarter.
template <size_t V, typename F>
inline void ForVectors(size_t begin, size_t end, F f) {
  for (; begin + V * kLanes <= end; begin += V * kLanes) f(std::integral_constant<size_t, V>{}, begin, kLanes);
  if constexpr (V > 1) {
    ForVectors<V / 2>(begin, end, f);
  } else if (begin < end) {
    f(std::integral_constant<size_t, 1>{}, begin, end - begin);
  }
}

// V vectors of R rows, d apart, of one head's output from their softmaxed scores, padded apart; row(t) has the values
// of position t. The last vector has `valid` lanes.
template <size_t R, size_t V, typename Row>
inline void WeightVectors(const float* scores, size_t padded, Row row, size_t d, size_t length, size_t valid,
                          float* out) {
  Floats sums[R][V];
  Unroll<R * V>([&](auto i) { sums[i / V][i % V] = Floats{}; });
  for (size_t t = 0; t < length; ++t) {
    const float* v = row(t);
    Floats value[V];
    Unroll<V>([&](auto i) { value[i] = i + 1 < V ? Load(v + i * kLanes) : LoadUpTo(v + i * kLanes, valid); });
    Unroll<R * V>([&](auto j) { sums[j / V][j % V] += value[j % V] * scores[j / V * padded + t]; });
  }
  Unroll<R * V>(
      [&](auto i) { StorePart(out + i / V * d + i % V * kLanes, sums[i / V][i % V], i % V + 1 < V ? kLanes : valid); });
}

void Attend(const float* q, const float* const* keys, const float* const* values, size_t length, Heads heads,
            float scale, float* scores, float* out) {
  for (size_t h = heads.begin; h < heads.end; ++h) {
    const size_t head = h * heads.dim, end = head + heads.dim;
    for (size_t t = 0; t < length; t += kLanes) {
      const float* sixteen[kLanes];
      for (size_t r = 0; r < kLanes; ++r) sixteen[r] = keys[std::min(t + r, length - 1)];  // softmax drops repetitions
      ScoresOfSixteen(q + head, sixteen, head, heads.dim, scale, scores + t);
    }
    Softmax(scores, length);
    ForVectors<4>(head, end, [&](auto vectors, size_t i, size_t valid) {  // four sums hide the latency of an addition
      const auto row = [&](size_t t) { return values[t] + i; };
      WeightVectors<1, vectors>(scores, 0, row, 0, length, valid, out + i);
    });
  }
}

// Vectors of a row's scores or outputs that are summed at a time, for four rows: as many sums as registers hold, since
// four hide less than the latency of an addition where a register holds all lanes.
constexpr size_t kVectorsAtOnce = kRegisters == 1 ? 2 : 1;

// scores[r * padded + t] = scale * q_r . k_t for V * 16 positions t and R rows of one head, from keys [head_dim,
// padded].
template <size_t R, size_t V>
void ScoresOfVectors(const float* q, size_t d, const float* keys, size_t head_dim, size_t padded, float scale,
                     float* scores) {
  Floats sums[R][V];
  Unroll<R * V>([&](auto i) { sums[i / V][i % V] = Floats{}; });
  for (size_t i = 0; i < head_dim; ++i, keys += padded) {
    Floats key[V];
    Unroll<V>([&](auto v) { key[v] = Load(keys + v * kLanes); });
    Unroll<R * V>([&](auto j) { sums[j / V][j % V] += key[j % V] * q[j / V * d + i]; });
  }
  Unroll<R * V>([&](auto i) { Store(scores + i / V * padded + i % V * kLanes, sums[i / V][i % V] * scale); });
}

template <size_t R>
void Scores(const float* q, size_t d, const float* keys, size_t head_dim, size_t padded, float scale, float* scores) {
  ForVectors<kVectorsAtOnce>(0, padded, [&](auto vectors, size_t t, size_t) {
    ScoresOfVectors<R, vectors>(q, d, keys + t, head_dim, padded, scale, scores + t);
  });
}

template <size_t R>
void WeightValues(const float* scores, size_t padded, const float* v, size_t d, size_t length, size_t head_dim,
                  float* out) {
  ForVectors<kVectorsAtOnce>(0, head_dim, [&](auto vectors, size_t i, size_t valid) {
    const auto row = [&](size_t t) { return v + t * d + i; };
    WeightVectors<R, vectors>(scores, padded, row, d, length, valid, out + i);
  });
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

void AttendAll(const float* q, const float* k, const float* v, size_t length, size_t d, Heads heads, float scale,
               float* scratch, float* out) {
  const size_t head_dim = heads.dim, padded = Padded(length);
  float *keys = scratch, *scores = scratch + head_dim * padded;
  for (size_t h = heads.begin; h < heads.end; ++h) {
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
const FloatOps kFloatOps = {Add, LayerNorm, Activate, Ssru, Attend, AttendAll, LogSumExp, TopK};

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
