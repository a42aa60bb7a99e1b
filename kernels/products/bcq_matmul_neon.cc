// NEON, as every aarch64 CPU has it: the contract of bcq_matmul.h by look-up tables.
//
// tbl looks 16 bytes up in one table of 16 entries. ld4 takes the 64 bytes of a block and chunk apart by their position
// in the code word on the way in, so that a vector holds one byte of each of the 16 rows, which needs one table. For
// each block and chunk:
//
//     instruction     count   pipes (Neoverse N1; V1 and on)    what
//     ld4                1    L + V: 1 in 4 cycles; in 4        byte positions 0 to 3, 16 rows each
//     and, ushr          8    V01; V0123, ushr V13              nibbles
//     ldr (tables)      16    L01; L012                         low and high bytes of eight tables
//     tbl               16    V01; V0123, half of them          16 look-ups each
//     uaddw, uaddw2     32    V01; V0123                        bytes into 16-bit sums
//
// 56 vector operations for 512 weight-bits: the vector pipes bound it, at 18 weight-bits a cycle with two of them and
// 36 with four; the loads take half of that time on their own ports. The figures are from Arm's optimisation guides: no
// such CPU was at hand to measure. Sums of bytes stay below 2^16 for 32 chunks; then they are widened. Two columns a
// pass share ld4 and the nibbles.
//
// Not taken: tbl over four registers with udot to add the bytes, as the AVX-512 file has it, needs no ld4, but such a
// tbl is three to four operations of one register each.

#include <arm_neon.h>

#include "kernels/products/bcq_matmul_tables.h"

namespace sub3 {
namespace neon {

namespace {

constexpr size_t kChunksPerFlush = 32;  // 8 look-ups a chunk x 255 x 32 = 65280 < 2^16
constexpr size_t kFours = 4;            // vectors of four rows in a block

// 16-bit sums of one byte a row.
struct ByteSums {
  uint16x8_t top = vdupq_n_u16(0), bottom = vdupq_n_u16(0);  // rows 0-7, 8-15

  void Add(uint8x16_t bytes) {
    top = vaddw_u8(top, vget_low_u8(bytes));
    bottom = vaddw_high_u8(bottom, bytes);
  }
};

// sums[4] of four rows each += 256 * high + low.
void AddWidened(const ByteSums& low, const ByteSums& high, int32x4_t* sums) {
  const auto add = [&](size_t i, uint16x4_t l, uint16x4_t h) {
    const uint32x4_t sum = vaddw_u16(vshll_n_u16(h, 8), l);
    sums[i] = vaddq_s32(sums[i], vreinterpretq_s32_u32(sum));
  };
  add(0, vget_low_u16(low.top), vget_low_u16(high.top));
  add(1, vget_high_u16(low.top), vget_high_u16(high.top));
  add(2, vget_low_u16(low.bottom), vget_low_u16(high.bottom));
  add(3, vget_high_u16(low.bottom), vget_high_u16(high.bottom));
}

struct Isa {
  static constexpr int kColumns = 2;
  static constexpr size_t kBytesPerChunk = kTableBytesPerChunk;

  static float BuildTables(const float* x, size_t columns, size_t chunks, int16_t* xq, uint8_t* tables) {
    const float s = Quantize(x, columns, chunks, xq);
    static constexpr int16_t kSigns[4][16] = {{-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1},
                                              {-1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1},
                                              {-1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1},
                                              {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1}};
    for (size_t table = 0; table < chunks * 8; ++table) {  // one table of 16 entries at a time
      const int16x4_t inputs = vld1_s16(xq + 4 * table);
      int16x8_t entries[2];
      for (size_t half = 0; half < 2; ++half) {  // keys 0-7, 8-15
        int16x8_t sum = vdupq_n_s16(static_cast<int16_t>(kTableOffset));
        sum = vmlaq_lane_s16(sum, vld1q_s16(kSigns[0] + 8 * half), inputs, 0);
        sum = vmlaq_lane_s16(sum, vld1q_s16(kSigns[1] + 8 * half), inputs, 1);
        sum = vmlaq_lane_s16(sum, vld1q_s16(kSigns[2] + 8 * half), inputs, 2);
        entries[half] = vmlaq_lane_s16(sum, vld1q_s16(kSigns[3] + 8 * half), inputs, 3);
      }
      const uint8x16_t first = vreinterpretq_u8_s16(entries[0]), second = vreinterpretq_u8_s16(entries[1]);
      uint8_t* out = tables + table / 8 * kTableBytesPerChunk + 128 * (table % 2) + 16 * (table % 8 / 2);
      vst1q_u8(out, vuzp1q_u8(first, second));
      vst1q_u8(out + 64, vuzp2q_u8(first, second));
    }
    return s;
  }

  template <int C>
  static void Segment(const Product& product, const BcqSegment& segment, const uint8_t* tables, size_t table_stride,
                      const float* s, float* const* y) {
    const BcqMatrix& matrix = *product.weight;
    for (size_t block = segment.begin / kBlockRows; block * kBlockRows < segment.end; ++block) {
      float32x4_t totals[C][kFours];
      for (int c = 0; c < C; ++c)
        for (float32x4_t& total : totals[c]) total = vdupq_n_f32(0);
      for (size_t group = 0; group < matrix.groups; ++group) {
        for (int plane = 0; plane < segment.planes; ++plane) {
          AddPlane<C>(matrix, segment, block, plane, group, tables, table_stride, totals);
        }
      }
      const size_t row = block * kBlockRows;
      const size_t first = std::max(row, segment.begin), last = std::min(row + kBlockRows, segment.end);
      for (int c = 0; c < C; ++c) {
        float values[kBlockRows];
        for (size_t i = 0; i < kFours; ++i) vst1q_f32(values + 4 * i, vmulq_n_f32(totals[c][i], s[c]));
        for (size_t r = first; r < last; ++r) {
          y[c][r] = product.bias ? values[r - row] + product.bias[r] : values[r - row];
        }
      }
    }
  }

 private:
  static float Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    float32x4_t largest = vdupq_n_f32(0);
    size_t c = 0;
    for (; c + 4 <= columns; c += 4) largest = vmaxq_f32(largest, vabsq_f32(vld1q_f32(x + c)));
    float maximum = vmaxvq_f32(largest);
    for (; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
    const bool zero = maximum < kSmallestMaximum;
    Round(x, columns, chunks, zero ? 0.0f : kMaxQuantized / maximum, xq);
    int32_t most = 0;
    for (c = 0; c < chunks * kChunkColumns;) {
      int32x4_t magnitudes = vdupq_n_s32(0);
      for (const size_t end = std::min(c + kWindowColumns, chunks * kChunkColumns); c < end; c += 8) {
        magnitudes = vpadalq_s16(magnitudes, vabsq_s16(vld1q_s16(xq + c)));
      }
      most = std::max(most, vaddvq_s32(magnitudes));
    }
    const float steps = Steps(most);
    if (steps < kMaxQuantized) Round(x, columns, chunks, steps / maximum, xq);
    return zero ? 0.0f : maximum / steps;
  }

  // xq[c] = rint(x[c] * factor), zeros up to chunks * 32.
  static void Round(const float* x, size_t columns, size_t chunks, float factor, int16_t* xq) {
    size_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      vst1_s16(xq + c, vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + c), factor))));
    }
    for (; c < columns; ++c) xq[c] = static_cast<int16_t>(vcvtns_s32_f32(x[c] * factor));
    std::fill(xq + columns, xq + chunks * kChunkColumns, int16_t{0});
  }

  template <int C>
  static void AddPlane(const BcqMatrix& matrix, const BcqSegment& segment, size_t block, int plane, size_t group,
                       const uint8_t* tables, size_t table_stride, float32x4_t (*totals)[kFours]) {
    const size_t first = group * matrix.chunks_per_group;
    const size_t last = std::min(first + matrix.chunks_per_group, matrix.chunks);
    const uint32_t* codes = matrix.planes[plane] + block * matrix.chunks * kBlockRows;
    const uint8x16_t nibble = vdupq_n_u8(0x0f);
    int32x4_t sums[C][kFours];
    for (int c = 0; c < C; ++c)
      for (int32x4_t& sum : sums[c]) sum = vdupq_n_s32(-static_cast<int32_t>((last - first) * kOffsetPerChunk));
    for (size_t chunk = first; chunk < last;) {
      const size_t flush = std::min(chunk + kChunksPerFlush, last);
      ByteSums low[C], high[C];
      for (; chunk < flush; ++chunk) {
        const uint8x16x4_t words = vld4q_u8(reinterpret_cast<const uint8_t*>(codes + chunk * kBlockRows));
        const uint8_t* table = tables + chunk * kTableBytesPerChunk;
        for (size_t position = 0; position < 4; ++position) {
          const uint8x16_t even = vandq_u8(words.val[position], nibble);
          const uint8x16_t odd = vshrq_n_u8(words.val[position], 4);
          for (int c = 0; c < C; ++c) {
            const uint8_t* t = table + c * table_stride + 16 * position;
            low[c].Add(vqtbl1q_u8(vld1q_u8(t), even));
            high[c].Add(vqtbl1q_u8(vld1q_u8(t + 64), even));
            low[c].Add(vqtbl1q_u8(vld1q_u8(t + 128), odd));
            high[c].Add(vqtbl1q_u8(vld1q_u8(t + 192), odd));
          }
        }
      }
      for (int c = 0; c < C; ++c) AddWidened(low[c], high[c], sums[c]);
    }
    const uint16_t* scales = segment.scales + (plane * matrix.groups + group) * segment.scale_rows +
                             block * kBlockRows - segment.scale_begin;
    for (size_t i = 0; i < kFours; ++i) {
      const float32x4_t alpha = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(scales + 4 * i)));
      for (int c = 0; c < C; ++c) {
        totals[c][i] = vaddq_f32(totals[c][i], vmulq_f32(alpha, vcvtq_f32_s32(sums[c][i])));
      }
    }
  }
};

}  // namespace

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  TableMatmul<Isa>(products, num_products, x, x_stride, columns, 0, n, scratch);
}

}  // namespace neon
}  // namespace sub3
