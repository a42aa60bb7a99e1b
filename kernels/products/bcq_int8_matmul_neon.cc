// NEON: the int8 GEMM of bcq_int8_matmul.h. Compiled twice: for every aarch64 CPU (neon), and with sdot
// (neon_dotprod, for CPUs that report it).
//
// Unpacked weights lie [4 columns each][block][16 rows][4 columns] as int8. Columns j, j + 8, j + 16 and j + 24 of a
// chunk come together: they are bit j of a code word's four bytes, which cmtst makes a mask.
//
//     unpacking, for each 16 weights          multiplying: sdot, for 64 products     without, for 128 products
//     cmtst, and, add         3 a plane       sdot                        4          smull, smlal             8 + 8
//                                             loads: 4 weights, 1 input   5 / C      sadalp                   8
//
// smull and smlal add two products up in 16 bits: 2 * 127 * 127 < 2^15. The vector pipes bound both: with two of them
// (Neoverse N1) 32 products a cycle with sdot and 10.7 without, twice that with four. The figures are from Arm's
// optimisation guides: no such CPU was at hand to measure.

#include <arm_neon.h>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_int8_tiles.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr size_t kStep = 4 * kInt8TileRows;  // bytes of unpacked weights for four columns
constexpr size_t kFours = kBlockRows / 4;    // vectors of four rows in a block

// Sums of one block's 16 rows for C columns over all inputs: w [width / 4][kStep], xq [C][width].
#ifdef __ARM_FEATURE_DOTPROD
constexpr int kColumnsAtOnce = 5;  // 20 accumulators of 32 registers

template <int C>
inline void Sums(const int8_t* w, const int8_t* xq, size_t width, int32x4_t (*sums)[kFours]) {
  int32x4_t total[C * kFours];
  Unroll<C * kFours>([&](auto i) { total[i] = vdupq_n_s32(0); });
  for (size_t k = 0; k < width; k += 16) {
    int8x16_t input[C];
    Unroll<C>([&](auto c) { input[c] = vld1q_s8(xq + c * width + k); });
    Unroll<4>([&](auto step) {
      int8x16_t weights[kFours];
      Unroll<kFours>([&](auto v) { weights[v] = vld1q_s8(w + step * kStep + 16 * v); });
      Unroll<C * kFours>(
          [&](auto i) { total[i] = vdotq_laneq_s32(total[i], weights[i % kFours], input[i / kFours], step); });
    });
    w += 4 * kStep;
  }
  Unroll<C * kFours>([&](auto i) { sums[i / kFours][i % kFours] = total[i]; });
}
#else
constexpr int kColumnsAtOnce = 2;  // 16 accumulators of 32 registers

template <int C>
inline void Sums(const int8_t* w, const int8_t* xq, size_t width, int32x4_t (*sums)[kFours]) {
  int32x4_t total[C * kFours][2];  // rows 0 and 1, 2 and 3 of four: two sums a row
  Unroll<C * kFours>([&](auto i) { total[i][0] = total[i][1] = vdupq_n_s32(0); });
  for (size_t k = 0; k < width; k += 8, w += 2 * kStep) {
    int8x16_t first[C], second[C];  // four inputs each, repeated
    Unroll<C>([&](auto c) {
      int32_t four[2];
      __builtin_memcpy(four, xq + c * width + k, sizeof four);
      first[c] = vreinterpretq_s8_s32(vdupq_n_s32(four[0]));
      second[c] = vreinterpretq_s8_s32(vdupq_n_s32(four[1]));
    });
    Unroll<kFours>([&](auto v) {
      const int8x16_t w0 = vld1q_s8(w + 16 * v), w1 = vld1q_s8(w + kStep + 16 * v);
      Unroll<C>([&](auto c) {
        const int16x8_t low = vmull_s8(vget_low_s8(w0), vget_low_s8(first[c]));
        const int16x8_t high = vmull_high_s8(w0, first[c]);
        int32x4_t(&rows)[2] = total[c * kFours + v];
        rows[0] = vpadalq_s16(rows[0], vmlal_s8(low, vget_low_s8(w1), vget_low_s8(second[c])));
        rows[1] = vpadalq_s16(rows[1], vmlal_high_s8(high, w1, second[c]));
      });
    });
  }
  Unroll<C * kFours>([&](auto i) { sums[i / kFours][i % kFours] = vpaddq_s32(total[i][0], total[i][1]); });
}
#endif

struct Int8Isa {
  using Input = int8_t;
  using Weight = int8_t;
  static constexpr size_t kChunksAtOnce = 1;

  static void RoundScales(const BcqSegment& segment, size_t row, Int8Tile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    const float32x4_t largest = vdupq_n_f32(kMaxInt8Weight);
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += 4) {
      float32x4_t alpha[kMaxInt8Planes], total = vdupq_n_f32(0);
      for (int i = 0; i < segment.planes; ++i) {
        alpha[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(scales + i * segment.scale_rows + r)));
        total = vaddq_f32(total, vabsq_f32(alpha[i]));
      }
      const uint32x4_t some = vcgtzq_f32(total);
      const uint32x4_t inverse = vandq_u32(some, vreinterpretq_u32_f32(vdivq_f32(largest, total)));
      vst1q_f32(tile->rho + r, vdivq_f32(total, largest));
      for (int i = 0; i < segment.planes; ++i) {
        vst1q_s32(tile->a[i] + r, vcvtnq_s32_f32(vmulq_f32(alpha[i], vreinterpretq_f32_u32(inverse))));
      }
    }
  }

  static Int8Column Quantize(const float* x, size_t columns, size_t chunks, int8_t* xq) {
    float32x4_t largest = vdupq_n_f32(0);
    size_t c = 0;
    for (; c + 4 <= columns; c += 4) largest = vmaxq_f32(largest, vabsq_f32(vld1q_f32(x + c)));
    float maximum = vmaxvq_f32(largest);
    for (; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kMaxInt8Input / maximum;
    const auto four = [&](size_t i) { return vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse))); };
    for (c = 0; c + 8 <= columns; c += 8) vst1_s8(xq + c, vmovn_s16(vcombine_s16(four(c), four(c + 4))));
    for (; c < columns; ++c) xq[c] = static_cast<int8_t>(vcvtns_s32_f32(x[c] * inverse));
    std::fill(xq + columns, xq + chunks * kChunkColumns, int8_t{0});
    for (c = 0; c < chunks * kChunkColumns; c += kChunkColumns) {  // byte i of a chunk is column 8 (i % 4) + i / 4
      const int8x8x4_t eights = {{vld1_s8(xq + c), vld1_s8(xq + c + 8), vld1_s8(xq + c + 16), vld1_s8(xq + c + 24)}};
      vst4_s8(xq + c, eights);
    }
    return {inverse == 0 ? 0.0f : maximum / kMaxInt8Input, 0};
  }

  // W = -sum_i a_i + 2 sum_{i: bit set} a_i, in bytes that wrap.
  static void Unpack(const Int8Tile& tile, int8_t* weights) {
    for (size_t four = 0; four < tile.num_blocks * kFours; ++four) {  // rows at a time
      uint8x16_t twice[kMaxInt8Planes], base = vdupq_n_u8(0);
      for (int i = 0; i < tile.num_planes; ++i) {
        // Each row's a in the row's four bytes.
        const uint32x4_t a = vandq_u32(vreinterpretq_u32_s32(vld1q_s32(tile.a[i] + 4 * four)), vdupq_n_u32(255));
        const uint8x16_t spread = vreinterpretq_u8_u32(vmulq_n_u32(a, 0x01010101));
        base = vsubq_u8(base, spread);
        twice[i] = vaddq_u8(spread, spread);
      }
      int8_t* out = weights + 16 * four;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        const size_t word = (four / kFours * tile.chunks + chunk) * kBlockRows + 4 * (four % kFours);
        uint8x16_t bytes[kMaxInt8Planes];
        for (int i = 0; i < tile.num_planes; ++i) bytes[i] = vreinterpretq_u8_u32(vld1q_u32(tile.planes[i] + word));
        for (int bit = 0; bit < 8; ++bit, out += kStep) {
          const uint8x16_t which = vdupq_n_u8(static_cast<uint8_t>(1 << bit));
          uint8x16_t w = base;
          for (int i = 0; i < tile.num_planes; ++i) w = vaddq_u8(w, vandq_u8(vtstq_u8(bytes[i], which), twice[i]));
          vst1q_s8(out, vreinterpretq_s8_u8(w));
        }
      }
    }
  }

  static void Multiply(const Int8Tile& tile, const int8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                       const Int8Output& output) {
    const size_t width = tile.chunks * kChunkColumns;
    for (size_t block = 0; block < tile.num_blocks; ++block) {
      const int8_t* w = weights + 4 * kBlockRows * block;
      size_t j = 0;
      for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) {
        Columns<kColumnsAtOnce>(tile, block, w, xq + j * width, s + j, j, output);
      }
      for (; j < n; ++j) Columns<1>(tile, block, w, xq + j * width, s + j, j, output);
    }
  }

 private:
  template <int C>
  static void Columns(const Int8Tile& tile, size_t block, const int8_t* weights, const int8_t* xq, const Int8Column* s,
                      size_t j, const Int8Output& output) {
    int32x4_t sums[C][kFours];
    Sums<C>(weights, xq, tile.chunks * kChunkColumns, sums);
    const size_t row = block * kBlockRows;
    const size_t first = std::max(row, output.first), last = std::min(row + kBlockRows, output.last);
    const float* bias = output.product->bias;
    for (int c = 0; c < C; ++c) {
      float values[kBlockRows];
      for (size_t v = 0; v < kFours; ++v) {
        const float32x4_t value = vmulq_f32(vcvtq_f32_s32(sums[c][v]), vld1q_f32(tile.rho + row + 4 * v));
        vst1q_f32(values + 4 * v, vmulq_n_f32(value, s[c].s));
      }
      float* y = output.At(j + c);
      for (size_t r = first; r < last; ++r) {
        y[r] = bias ? values[r - row] + bias[output.row + r] : values[r - row];
      }
    }
  }
};

}  // namespace

void BcqInt8Matmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  Int8Matmul<Int8Isa>(products, num_products, 1, x, x_stride, columns, 0, n, scratch);
}

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
