// Vectors of 16 float32 lanes in one, two or four registers, for files that are compiled once for each instruction set.
//
// GCC has vector types of 64 bytes on every machine. Where registers are smaller, version 12 compares them lane by lane
// and passes them through memory: attention was ten times slower with AVX2 than with AVX-512.

#ifndef SUB3_KERNELS_LANES_H_
#define SUB3_KERNELS_LANES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/floats/unroll.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)
constexpr size_t kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr size_t kRegisterBytes = 32;
#else
constexpr size_t kRegisterBytes = 16;
#endif
typedef float Register __attribute__((vector_size(kRegisterBytes)));
typedef int32_t IntRegister __attribute__((vector_size(kRegisterBytes)));

constexpr size_t kLanes = 16;
constexpr size_t kRegisterLanes = kRegisterBytes / sizeof(float);
constexpr size_t kRegisters = kLanes / kRegisterLanes;

struct Floats {
  Register part[kRegisters];

  Floats(float x = 0) {                                             // in all lanes
    Unroll<kRegisters>([&](auto i) { part[i] = x - Register{}; });  // x, even -0, and no addition
  }

  float& operator[](size_t lane) { return reinterpret_cast<float*>(part)[lane]; }
};

// f of each register.
template <typename F>
inline Floats Each(Floats a, F f) {
  Unroll<kRegisters>([&](auto i) { a.part[i] = f(a.part[i]); });
  return a;
}
template <typename F>
inline Floats Each(Floats a, const Floats& b, F f) {
  Unroll<kRegisters>([&](auto i) { a.part[i] = f(a.part[i], b.part[i]); });
  return a;
}

inline Floats operator+(const Floats& a, const Floats& b) {
  return Each(a, b, [](Register x, Register y) { return x + y; });
}
inline Floats operator-(const Floats& a, const Floats& b) {
  return Each(a, b, [](Register x, Register y) { return x - y; });
}
inline Floats operator*(const Floats& a, const Floats& b) {
  return Each(a, b, [](Register x, Register y) { return x * y; });
}
inline Floats operator/(const Floats& a, const Floats& b) {
  return Each(a, b, [](Register x, Register y) { return x / y; });
}
inline Floats operator-(const Floats& a) {
  return Each(a, [](Register x) { return -x; });
}
inline Floats& operator+=(Floats& a, const Floats& b) { return a = a + b; }

inline Floats Max(const Floats& a, const Floats& b) {
  return Each(a, b, [](Register x, Register y) { return x > y ? x : y; });
}

// Sums and maxima halve the lanes until one is left, in this order on every machine: lane i with i + 8, then with i +
// 4, i + 2, i + 1. In registers of four lanes: GCC 12 extracts the lanes of longer ones one by one, six times slower.
typedef float Four __attribute__((vector_size(16)));

template <typename F>
inline Four ReduceToFour(const Floats& v, F combine) {
  Four four[4];
  std::memcpy(four, v.part, sizeof four);
  return combine(combine(four[0], four[2]), combine(four[1], four[3]));
}

template <typename F>
inline float Reduce(const Floats& v, F combine) {
  const Four four = ReduceToFour(v, combine);
  const Four two = combine(four, __builtin_shufflevector(four, four, 2, 3, 0, 1));
  return combine(two, __builtin_shufflevector(two, two, 1, 0, 3, 2))[0];
}

inline float Sum(const Floats& v) {
  return Reduce(v, [](auto a, auto b) { return a + b; });
}

inline float Largest(const Floats& v) {
  return Reduce(v, [](auto a, auto b) { return a > b ? a : b; });
}

// Lane r of the result is Sum(v[r]), the same additions in the same order, four at a time.
inline Floats Sums(const Floats* v) {
  Four four[4];
  Unroll<4>([&](auto i) {
    Four sums[4];
    Unroll<4>([&](auto r) { sums[r] = ReduceToFour(v[4 * i + r], [](auto a, auto b) { return a + b; }); });
    const auto halve = [](Four a, Four b) {
      return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    };
    const Four low = halve(sums[0], sums[1]), high = halve(sums[2], sums[3]);
    four[i] = __builtin_shufflevector(low, high, 0, 2, 4, 6) + __builtin_shufflevector(low, high, 1, 3, 5, 7);
  });
  Floats result;
  std::memcpy(result.part, four, sizeof four);
  return result;
}

inline Floats Load(const float* p) {
  Floats v;
  Unroll<kRegisters>([&](auto i) { std::memcpy(&v.part[i], p + i * kRegisterLanes, kRegisterBytes); });
  return v;
}

// The first n < 16 lanes; the rest are `fill`.
inline Floats LoadPart(const float* p, size_t n, float fill) {
  Floats v(fill);
  std::memcpy(v.part, p, n * sizeof(float));
  return v;
}

inline Floats LoadUpTo(const float* p, size_t valid) { return valid == kLanes ? Load(p) : LoadPart(p, valid, 0.0f); }

inline void Store(float* p, const Floats& v) {
  Unroll<kRegisters>([&](auto i) { std::memcpy(p + i * kRegisterLanes, &v.part[i], kRegisterBytes); });
}
inline void StorePart(float* p, const Floats& v, size_t n) { std::memcpy(p, v.part, n * sizeof(float)); }

}  // namespace
}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3

#endif  // SUB3_KERNELS_LANES_H_
