// The float32 operations of the network: layer norm, activations, SSRU, attention, log-sum-exp, top k.
//
// Written once over 16-lane vectors and compiled for each instruction set. Every reduction adds into 16 lanes (lane =
// index modulo 16), then halves them in a fixed order; multiply-adds are not fused. So all builds return the same bits.

#ifndef SUB3_KERNELS_FLOAT_OPS_H_
#define SUB3_KERNELS_FLOAT_OPS_H_

#include <cstddef>
#include <cstdint>

namespace sub3 {

enum class Activation : uint8_t { kRelu, kSwish, kGelu };

// Heads [begin, end) of an attention, `dim` numbers each.
struct Heads {
  size_t begin, end, dim;
};

// attend takes a pointer for each row of keys and values, so that the same code reads a contiguous encoder output and a
// KV cache with scattered rows.
struct FloatOps {
  // x[i] += y[i].
  void (*add)(float* x, const float* y, size_t n);
  // out = (x - mean) / sqrt(variance + epsilon) * gain + bias; out may be x.
  void (*layer_norm)(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* out);
  // In place: relu(x) = max(x, 0); swish(x) = x / (1 + e^-x); gelu(x) = x (1 + erf(x / sqrt 2)) / 2.
  void (*activate)(Activation activation, float* x, size_t n);
  // A step of an SSRU: state = s * previous + (1 - s) * candidate, s = 1 / (1 + e^-forget); out = max(state, 0).
  void (*ssru)(const float* forget, const float* candidate, const float* previous, size_t n, float* state, float* out);
  // out[h * d + i] = sum_t softmax_t(scale * q_h . keys[t]_h) * values[t][h * d + i] of the heads h, d = heads.dim.
  // scores: scratch memory of AttendScratch(length) floats; on return it holds the softmax of the last head.
  void (*attend)(const float* q, const float* const* keys, const float* const* values, size_t length, Heads heads,
                 float scale, float* scores, float* out);
  // The same for all `length` positions of a sentence at once: rows of q, k, v and out are `width` apart.
  // scratch: AttendAllScratch(length, heads.dim) floats.
  void (*attend_all)(const float* q, const float* k, const float* v, size_t length, size_t width, Heads heads,
                     float scale, float* scratch, float* out);
  // log sum_i e^x[i]; maximum = max_i x[i].
  float (*log_sum_exp)(const float* x, size_t n, float maximum);
  // The k largest x, largest first, ties by the lower index. indices and values: [k]; k <= n.
  void (*top_k)(const float* x, size_t n, size_t k, int32_t* indices, float* values);
};

inline size_t AttendScratch(size_t length) { return (length + 15) / 16 * 16; }

inline size_t AttendAllScratch(size_t length, size_t head_dim) {
  return (head_dim + 4) * AttendScratch(length);  // one head's keys transposed, the scores of four positions
}

namespace scalar {
extern const FloatOps kFloatOps;
}
namespace avx2 {
extern const FloatOps kFloatOps;
}
namespace avx512 {
extern const FloatOps kFloatOps;
}
namespace neon {
extern const FloatOps kFloatOps;
}

}  // namespace sub3

#endif  // SUB3_KERNELS_FLOAT_OPS_H_
