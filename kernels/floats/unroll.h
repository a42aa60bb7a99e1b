// Unrolled loops over arrays of registers. In plain loops GCC 12 stores arrays of accumulators to memory in every
// iteration, which halved the speed of the int8 GEMM (95 instead of 190 G products a second on Zen 4).

#ifndef SUB3_KERNELS_UNROLL_H_
#define SUB3_KERNELS_UNROLL_H_

#include <cstddef>
#include <type_traits>
#include <utility>

namespace sub3 {

template <size_t... I, typename F>
inline __attribute__((always_inline)) void UnrollSequence(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<size_t, I>{}), ...);
}

// Calls f(0), f(1), .. f(N - 1) with compile-time constants.
template <size_t N, typename F>
inline __attribute__((always_inline)) void Unroll(F f) {
  UnrollSequence(std::make_index_sequence<N>{}, f);
}

}  // namespace sub3

#endif  // SUB3_KERNELS_UNROLL_H_
