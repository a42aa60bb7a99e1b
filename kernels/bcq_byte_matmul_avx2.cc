// AVX2: the product of bytes of bcq_matmul.h, in 16-bit lanes: vpmaddubsw saturates, and with signs apart it takes as
// many operations.
//
// Unpacked weights lie [8 rows each][4 columns each][8 rows][4 columns] as W + 128 in int16; the surplus, 128 *
// sum(xq), is taken off at the end. Columns j, j + 8, j + 16 and j + 24 of a chunk come together: they are bit j of a
// code word's four bytes. The highest bit comes first, where vpblendvb looks; doubling a byte brings the next one
// there.
//
//     unpacking, for each 32 weights       count           multiplying, for each 16 products    count   Zen 3
//     vpblendvb, vpaddb (codes)            2 for a plane   vpmaddwd                             1       p03
//     vpaddb                               planes - 1      vpaddd                               1       p0123
//     vpunpcklbw, vpunpckhbw               2               loads: 2 weights, 6 inputs           8 / 12
//
// The bound is 32 products a cycle.

#include <immintrin.h>

#include "kernels/bcq_byte_matmul.h"
#include "kernels/columns_avx2.h"
#include "kernels/unroll.h"

namespace sub3 {
namespace avx2 {

namespace {

constexpr size_t kColumnsAtOnce = 6;  // 12 accumulators of 16 registers
constexpr size_t kEight = 8;          // rows of a register of sums
constexpr size_t kStep = 4 * kEight;  // weights of four columns

struct ByteIsa {
  using Input = int16_t;
  using Weight = int16_t;

  static void RoundScales(const BcqSegment& segment, size_t row, ByteTile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += kEight) {
      __m256 alpha[kMaxBytePlanes], total = _mm256_setzero_ps();
      for (int i = 0; i < segment.planes; ++i) {
        const void* halves = scales + i * segment.scale_rows + r;
        alpha[i] = _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(halves)));
        total = _mm256_add_ps(total, Magnitudes(alpha[i]));
      }
      const __m256 some = _mm256_cmp_ps(total, _mm256_setzero_ps(), _CMP_GT_OQ);
      const __m256 inverse = _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(kByteWeights), total));
      _mm256_storeu_ps(tile->rho + r, _mm256_div_ps(total, _mm256_set1_ps(kByteWeights)));
      for (int i = 0; i < segment.planes; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile->a[i] + r),
                            _mm256_cvtps_epi32(_mm256_mul_ps(alpha[i], inverse)));
      }
    }
  }

  static ByteColumn Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    const float s = avx2::Quantize(x, columns, chunks, kByteInputs, xq);
    __m256i sums = _mm256_setzero_si256();
    for (size_t chunk = 0; chunk < chunks; ++chunk, xq += kChunkColumns) {
      auto* half = reinterpret_cast<__m256i*>(xq);
      const __m256i ones = _mm256_set1_epi16(1), first = Load(half), second = Load(half + 1);  // columns 0-15, 16-31
      sums = _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones)));
      // Columns 0-7 and 16-23, then 8-15 and 24-31, word by word, become fours; the last first.
      const __m256i even = _mm256_permute2x128_si256(first, second, 0x20);
      const __m256i odd = _mm256_permute2x128_si256(first, second, 0x31);
      const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
      const __m256i pairs[2] = {_mm256_permute2x128_si256(high, low, 0x20), _mm256_permute2x128_si256(high, low, 0x31)};
      const __m256i up = _mm256_shuffle_epi32(_mm256_unpackhi_epi32(pairs[0], pairs[1]), 0x4e);    // 7, 6 and 3, 2
      const __m256i down = _mm256_shuffle_epi32(_mm256_unpacklo_epi32(pairs[0], pairs[1]), 0x4e);  // 5, 4 and 1, 0
      _mm256_storeu_si256(half, _mm256_permute2x128_si256(up, down, 0x20));
      _mm256_storeu_si256(half + 1, _mm256_permute2x128_si256(up, down, 0x31));
    }
    return {s, SumOfLanes(sums)};
  }

  static void Unpack(const ByteTile& tile, int16_t* weights) {
    Unroll<kMaxBytePlanes>([&](auto i) {
      if (tile.num_planes == i + 1) UnpackPlanes<i + 1>(tile, weights);
    });
  }

  static void Multiply(const ByteTile& tile, const int16_t* weights, const int16_t* xq, const ByteColumn* s, size_t n,
                       const ByteOutput& output) {
    const size_t width = tile.chunks * kChunkColumns;
    for (size_t row = 0; row < output.last; row += kEight, weights += kEight * width) {
      size_t j = 0;
      for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) {
        Columns<kColumnsAtOnce>(tile, row, weights, xq + j * width, s + j, j, output);
      }
      Unroll<kColumnsAtOnce>([&](auto left) {
        if constexpr (left > 0) {
          if (n - j == left) Columns<left>(tile, row, weights, xq + j * width, s + j, j, output);
        }
      });
    }
  }

 private:
  // The low byte of each int32, four times.
  static __m256i FourTimes(__m256i v) {
    const __m256i low_bytes = _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12,  //
                                               0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    return _mm256_shuffle_epi8(v, low_bytes);
  }

  template <int Planes>
  static void UnpackPlanes(const ByteTile& tile, int16_t* weights) {
    for (size_t row = 0; row < tile.num_blocks * kBlockRows; row += kEight) {
      __m256i plus[Planes], minus[Planes];  // the first plane's with 128
      Unroll<Planes>([&](auto i) {
        const __m256i a = FourTimes(Load(tile.a[i] + row));
        const __m256i base = _mm256_set1_epi8(i == 0 ? -128 : 0);
        plus[i] = _mm256_add_epi8(base, a);
        minus[i] = _mm256_sub_epi8(base, a);
      });
      const size_t first_word = row / kBlockRows * kBlockRows * tile.chunks + row % kBlockRows;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        __m256i codes[Planes];
        Unroll<Planes>([&](auto i) { codes[i] = Load(tile.planes[i] + first_word + chunk * kBlockRows); });
        for (size_t step = 0; step < 8; ++step, weights += kStep) {
          __m256i w = _mm256_setzero_si256();
          Unroll<Planes>([&](auto i) {
            w = _mm256_add_epi8(w, _mm256_blendv_epi8(minus[i], plus[i], codes[i]));
            codes[i] = _mm256_add_epi8(codes[i], codes[i]);
          });
          auto* out = reinterpret_cast<__m256i*>(weights);
          _mm256_store_si256(out, _mm256_unpacklo_epi8(w, _mm256_setzero_si256()));      // rows 0, 1, 4, 5
          _mm256_store_si256(out + 1, _mm256_unpackhi_epi8(w, _mm256_setzero_si256()));  // rows 2, 3, 6, 7
        }
      }
    }
  }

  // sums[c]: of the products of eight rows with column c.
  template <int C>
  static void Sums(const int16_t* weights, const int16_t* xq, size_t width, __m256i* sums) {
    __m256i outer[C], inner[C];  // rows 0, 1, 4, 5 and 2, 3, 6, 7, each in two lanes
    Unroll<C>([&](auto c) { outer[c] = inner[c] = _mm256_setzero_si256(); });
    for (size_t k = 0; k < width; k += 4, weights += kStep) {
      const __m256i first = Load(weights), second = Load(weights + kStep / 2);
      Unroll<C>([&](auto c) {
        int64_t four;
        __builtin_memcpy(&four, xq + c * width + k, sizeof four);
        const __m256i inputs = _mm256_set1_epi64x(four);
        outer[c] = AddInts(outer[c], _mm256_madd_epi16(first, inputs));
        inner[c] = AddInts(inner[c], _mm256_madd_epi16(second, inputs));
      });
    }
    Unroll<C>([&](auto c) { sums[c] = _mm256_hadd_epi32(outer[c], inner[c]); });
  }

  // Eight rows of the tile from `row` on.
  template <int C>
  static void Columns(const ByteTile& tile, size_t row, const int16_t* weights, const int16_t* xq, const ByteColumn* s,
                      size_t j, const ByteOutput& output) {
    __m256i sums[C];
    Sums<C>(weights, xq, tile.chunks * kChunkColumns, sums);
    const float* bias = output.product->bias;
    const size_t first = std::max(row, output.first) - row, last = std::min(row + kEight, output.last) - row;
    const __m256 rho = _mm256_loadu_ps(tile.rho + row);
    for (int c = 0; c < C; ++c) {
      const __m256i sum = _mm256_sub_epi32(sums[c], _mm256_set1_epi32(128 * s[c].sum));
      const __m256 values[1] = {_mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), rho), _mm256_set1_ps(s[c].s))};
      StoreRows(values, bias ? bias + output.row + row : nullptr, first, last, output.At(j + c) + row);
    }
  }
};

}  // namespace

void BcqByteMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  ByteMatmul<ByteIsa>(products, num_products, x, x_stride, columns, n, scratch);
}

}  // namespace avx2
}  // namespace sub3
