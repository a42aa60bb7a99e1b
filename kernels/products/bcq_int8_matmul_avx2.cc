// AVX2: the int8 GEMM of bcq_int8_matmul.h. Compiled twice: for every CPU with AVX2 (avx2), and with AVX-VNNI's
// vpdpbusd in place of the three instructions for several planes (avx2_vnni, for CPUs that report it: Intel's without
// AVX-512 since Alder Lake, including the small cores).
//
// vpmaddubsw multiplies unsigned bytes by signed ones and adds two products up in 16 bits. With A the sum of a row's
// |a_i| and U that of those a_i that a code's bits call for, W = 2 U - A, so that
//
//     sum_c W x = 2 sum_c U x - A sum_c x,      0 <= U <= A <= 127:  two products make 2 * 127 * 127 < 2^15.
//
// Of one plane U is 0 or A: weights of 0 and 1 and a factor A at the end, and 2 * 127 of them go 128 times into 16
// bits.
//
// Unpacked weights lie [8 rows each][4 columns each][8 rows][4 columns]. Columns j, j + 8, j + 16 and j + 24 of a chunk
// come together: they are bit j of a code word's four bytes. The highest bit comes first, where vpblendvb looks;
// doubling a byte brings the next one there.
//
//     unpacking, for each 32 weights    count           multiplying, for each 32 products   count   one plane   Zen 3
//     vpblendvb, vpaddb (codes)         2 for a plane   vpmaddubsw                          1       1           p03
//     vpaddb                            planes - 1      vpmaddwd                            1       -           p03
//                                                       vpaddd; vpaddw of one plane         1       1           p0123
//                                                       loads: 1 weights, 12 inputs         13 / 12
//
// The bound is 32 products a cycle, 64 of one plane; with vpdpbusd 64, where two of them start a cycle.

#include <immintrin.h>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_int8_tiles.h"
#include "kernels/products/columns_avx2.h"
#include "kernels/products/subset_sums_avx2.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {

namespace {

constexpr size_t kEight = 8;          // rows of a register of sums
constexpr size_t kStep = 4 * kEight;  // weights of four columns
// 12 accumulators of 16 registers: vpdpbusd leaves room for the weights of two times eight rows, and loads are what it
// waits for.
#ifdef __AVXVNNI__
constexpr size_t kEightsAtOnce = 2, kColumnsAtOnce = 6;
#else
constexpr size_t kEightsAtOnce = 1, kColumnsAtOnce = 12;
constexpr size_t kWordColumns = 512;  // whose sums of 0 and 1 times inputs are 16-bit numbers
#endif

struct Int8Isa {
  using Input = int8_t;
  using Weight = uint8_t;
  static constexpr size_t kChunksAtOnce = 1;

  static void RoundScales(const BcqSegment& segment, size_t row, Int8Tile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += kEight) {
      __m256 alpha[kMaxInt8Planes], total = _mm256_setzero_ps();
      for (int i = 0; i < segment.planes; ++i) {
        const void* halves = scales + i * segment.scale_rows + r;
        alpha[i] = _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(halves)));
        total = _mm256_add_ps(total, Magnitudes(alpha[i]));
      }
      const __m256 some = _mm256_cmp_ps(total, _mm256_setzero_ps(), _CMP_GT_OQ);
      const __m256 inverse = _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(kMaxInt8Weight), total));
      _mm256_storeu_ps(tile->rho + r, _mm256_div_ps(total, _mm256_set1_ps(kMaxInt8Weight)));
      for (int i = 0; i < segment.planes; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile->a[i] + r),
                            _mm256_cvtps_epi32(_mm256_mul_ps(alpha[i], inverse)));
      }
    }
  }

  static Int8Column Quantize(const float* x, size_t columns, size_t chunks, int8_t* xq) {
    const float s = QuantizeToInt8(x, columns, chunks, xq);
    // Columns 0-7 and 8-15, then 16-23 and 24-31, byte by byte, become fours; the last first.
    const __m256i pairs = _mm256_setr_epi8(7, 15, 6, 14, 5, 13, 4, 12, 3, 11, 2, 10, 1, 9, 0, 8,  //
                                           7, 15, 6, 14, 5, 13, 4, 12, 3, 11, 2, 10, 1, 9, 0, 8);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums = _mm256_setzero_si256();
    for (size_t chunk = 0; chunk < chunks; ++chunk, xq += kChunkColumns) {
      const __m256i inputs = Load(xq), paired = _mm256_shuffle_epi8(inputs, pairs);
      sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), inputs), ones));
      const __m128i first = _mm256_castsi256_si128(paired), second = _mm256_extracti128_si256(paired, 1);
      auto* fours = reinterpret_cast<__m128i*>(xq);
      _mm_storeu_si128(fours, _mm_unpacklo_epi16(first, second));
      _mm_storeu_si128(fours + 1, _mm_unpackhi_epi16(first, second));
    }
    return {s, SumOfLanes(sums)};
  }

  static void Unpack(const Int8Tile& tile, uint8_t* weights) {
    Unroll<kMaxInt8Planes>([&](auto i) {
      if (tile.num_planes == i + 1) UnpackPlanes<i + 1>(tile, weights);
    });
  }

  static void Multiply(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                       const Int8Output& output) {
    const size_t width = tile.chunks * kChunkColumns;
    for (size_t row = 0; row < output.last; row += kEightsAtOnce * kEight, weights += kEightsAtOnce * kEight * width) {
      const auto columns = [&](auto count, size_t j) {
        __m256i sums[kEightsAtOnce][count];
        if (tile.num_planes == 1) {
          SumsOfOnePlane<count>(weights, xq + j * width, width, sums);
        } else {
          Sums<count>(weights, xq + j * width, width, sums);
        }
        for (size_t e = 0; e < kEightsAtOnce && row + e * kEight < output.last; ++e) {
          Weigh<count>(tile, row + e * kEight, s + j, sums[e]);
          Store<count>(tile, row + e * kEight, sums[e], s + j, j, output);
        }
      };
      size_t j = 0;
      for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) columns(std::integral_constant<size_t, kColumnsAtOnce>{}, j);
      Unroll<kColumnsAtOnce>([&](auto left) {
        if constexpr (left > 0) {
          if (n - j == left) columns(left, j);
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
  static void UnpackPlanes(const Int8Tile& tile, uint8_t* weights) {
    const __m256i zero = _mm256_setzero_si256();
    for (size_t row = 0; row < tile.num_blocks * kBlockRows; row += kEight) {
      __m256i set[Planes], clear[Planes];  // what a bit adds to U
      Unroll<Planes>([&](auto i) {
        __m256i a = Load(tile.a[i] + row);
        if constexpr (Planes == 1) a = _mm256_sign_epi32(_mm256_set1_epi32(1), a);
        set[i] = FourTimes(_mm256_max_epi32(a, zero));
        clear[i] = FourTimes(_mm256_max_epi32(_mm256_sub_epi32(zero, a), zero));
      });
      const size_t first_word = row / kBlockRows * kBlockRows * tile.chunks + row % kBlockRows;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        __m256i codes[Planes];
        Unroll<Planes>([&](auto i) { codes[i] = Load(tile.planes[i] + first_word + chunk * kBlockRows); });
        for (size_t step = 0; step < 8; ++step, weights += kStep) {
          __m256i u = zero;
          Unroll<Planes>([&](auto i) {
            u = _mm256_add_epi8(u, _mm256_blendv_epi8(clear[i], set[i], codes[i]));
            codes[i] = _mm256_add_epi8(codes[i], codes[i]);
          });
          _mm256_store_si256(reinterpret_cast<__m256i*>(weights), u);
        }
      }
    }
  }

  static __m256i FourInputs(const int8_t* xq) {
    int32_t four;
    __builtin_memcpy(&four, xq, sizeof four);
    return _mm256_set1_epi32(four);
  }

  // sums[e][c]: of the products of the e-th eight rows with column c.
#ifdef __AVXVNNI__
  template <size_t C>
  static void Sums(const uint8_t* weights, const int8_t* xq, size_t width, __m256i (*sums)[C]) {
    constexpr size_t E = kEightsAtOnce;
    __m256i total[E * C];
    Unroll<E * C>([&](auto i) { total[i] = _mm256_setzero_si256(); });
    for (const int8_t* end = xq + width; xq < end; xq += 4, weights += kStep) {
      __m256i w[E];
      Unroll<E>([&](auto e) { w[e] = Load(weights + e * kEight * width); });
      Unroll<C>([&](auto c) {
        const __m256i inputs = FourInputs(xq + c * width);
        Unroll<E>([&](auto e) { total[c * E + e] = _mm256_dpbusd_avx_epi32(total[c * E + e], w[e], inputs); });
      });
    }
    Unroll<E * C>([&](auto i) { sums[i % E][i / E] = total[i]; });
  }

  template <size_t C>
  static void SumsOfOnePlane(const uint8_t* weights, const int8_t* xq, size_t width, __m256i (*sums)[C]) {
    Sums<C>(weights, xq, width, sums);
  }
#else
  template <size_t C>
  static void Sums(const uint8_t* weights, const int8_t* xq, size_t width, __m256i (*sums)[C]) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i total[C];
    Unroll<C>([&](auto c) { total[c] = _mm256_setzero_si256(); });
    for (const int8_t* end = xq + width; xq < end; xq += 4, weights += kStep) {
      const __m256i w = Load(weights);
      Unroll<C>([&](auto c) {
        total[c] = AddInts(total[c], _mm256_madd_epi16(_mm256_maddubs_epi16(w, FourInputs(xq + c * width)), ones));
      });
    }
    Unroll<C>([&](auto c) { sums[0][c] = total[c]; });
  }

  // The same for weights of 0 and 1.
  template <size_t C>
  static void SumsOfOnePlane(const uint8_t* weights, const int8_t* xq, size_t width, __m256i (*sums)[C]) {
    Unroll<C>([&](auto c) { sums[0][c] = _mm256_setzero_si256(); });
    for (size_t k = 0; k < width; k += kWordColumns) {
      __m256i words[C];
      Unroll<C>([&](auto c) { words[c] = _mm256_setzero_si256(); });
      for (const int8_t* end = xq + std::min(kWordColumns, width - k); xq < end; xq += 4, weights += kStep) {
        const __m256i w = Load(weights);
        Unroll<C>([&](auto c) { words[c] = AddShorts(words[c], _mm256_maddubs_epi16(w, FourInputs(xq + c * width))); });
      }
      Unroll<C>([&](auto c) {
        sums[0][c] = _mm256_add_epi32(sums[0][c], _mm256_madd_epi16(words[c], _mm256_set1_epi16(1)));
      });
    }
  }
#endif

  // The sums of U x of eight rows from `row` on become those of W x; of one plane they are of 0 and 1 for U.
  template <size_t C>
  static void Weigh(const Int8Tile& tile, size_t row, const Int8Column* s, __m256i* sums) {
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < tile.num_planes; ++i) total = _mm256_add_epi32(total, _mm256_abs_epi32(Load(tile.a[i] + row)));
    Unroll<C>([&](auto c) {
      const __m256i input_sum = _mm256_set1_epi32(s[c].sum), twice = _mm256_add_epi32(sums[c], sums[c]);
      sums[c] = tile.num_planes == 1 ? _mm256_mullo_epi32(total, _mm256_sub_epi32(twice, input_sum))
                                     : _mm256_sub_epi32(twice, _mm256_mullo_epi32(total, input_sum));
    });
  }

  // Eight rows of the tile from `row` on.
  template <size_t C>
  static void Store(const Int8Tile& tile, size_t row, const __m256i* sums, const Int8Column* s, size_t j,
                    const Int8Output& output) {
    const float* bias = output.product->bias;
    const size_t first = std::max(row, output.first) - row, last = std::min(row + kEight, output.last) - row;
    const __m256 rho = _mm256_loadu_ps(tile.rho + row);
    for (size_t c = 0; c < C; ++c) {
      const __m256 values[1] = {_mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[c]), rho), _mm256_set1_ps(s[c].s))};
      StoreRows(values, bias ? bias + output.row + row : nullptr, first, last, output.At(j + c) + row);
    }
  }
};

// The contract's weights of 16 rows, for subset sums: W = sum_i a_i B_i plane by plane, without unpacking it.
struct Int8Weights {
  Int8Tile tile;

  Int8Weights(const BcqSegment& segment, size_t row) {
    tile.num_planes = segment.planes;
    tile.num_blocks = 1;
    Int8Isa::RoundScales(segment, row, &tile);
  }

  static float Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    return QuantizeToInt8(x, columns, chunks, xq);
  }

  template <typename Sum>
  __m256 Row(size_t r, const Sum& sum) const {
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < tile.num_planes; ++i) {
      total = _mm256_add_epi32(total, _mm256_mullo_epi32(_mm256_set1_epi32(tile.a[i][r]), sum(i)));
    }
    return _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_set1_ps(tile.rho[r]));
  }
};

// Three operations for 32 products, whatever their planes, are 1.05 to 1.15 times as fast as subset sums of three
// planes; subset sums of two and of one plane are 1.3 and 2.1 times as fast, for 32 columns. One operation, vpdpbusd,
// was not compared with them.
#ifdef __AVXVNNI__
constexpr int kMaxSubsetPlanes = 0;
#else
constexpr int kMaxSubsetPlanes = 2;
#endif

}  // namespace

void BcqInt8Matmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  size_t done = 0;
  if (kMaxSubsetPlanes > 0) {
    done =
        MultiplyBySubsetSums<Int8Weights>(products, num_products, kMaxSubsetPlanes, x, x_stride, columns, n, scratch);
    Int8Matmul<Int8Isa>(products, num_products, kMaxSubsetPlanes + 1, x, x_stride, columns, 0, done, scratch);
  }
  Int8Matmul<Int8Isa>(products, num_products, 1, x, x_stride, columns, done, n, scratch);
}

}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3
