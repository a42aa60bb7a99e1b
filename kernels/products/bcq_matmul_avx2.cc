// AVX2: the contract of bcq_matmul.h by look-up tables.
//
// vpshufb looks 16 bytes up in one table of 16 entries for each 128-bit half, but a code word has four bytes that need
// four different tables. So the 128 bytes of two blocks and a chunk (32 rows x 4 byte positions) are transposed first:
//
//     instruction         count   ports (Zen 3)   what
//     vpshufb, vpunpck    12      p12             a vector for each byte position, 32 rows
//     vpand, vpsrlw       12      p0123, p12      nibbles
//     vpshufb             16      p12             32 look-ups each: low and high bytes of eight tables
//     vpaddb              4       p0123           pairs of high bytes
//     vpaddw, vpmulhuw    36      p0123, p03      bytes into 16-bit sums
//
// An entry is half of the signed sum of its four inputs and of their magnitudes: max(xq, 0) where the code's bit is
// set, max(-xq, 0) where it is not. That fits 15 bits, so two high bytes add up to one; sum B xq = 2 sum of entries -
// sum |xq|.
//
// 80 operations for 1024 weight-bits and a column, or 136 for two columns that share the transposition; on four ports
// 51 and 60 weight-bits a cycle. vpmulhuw by 256 is a shift that leaves the ports of the shuffles alone. Sums of bytes
// stay below 2^16 for 32 chunks; then they are widened.

#include <immintrin.h>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_matmul_tables.h"
#include "kernels/products/columns_avx2.h"
#include "kernels/products/subset_sums_avx2.h"

namespace sub3 {
namespace avx2 {

namespace {

constexpr size_t kTables = 8;           // of a chunk
constexpr size_t kTableBytes = 32;      // 16 low bytes, 16 high bytes
constexpr size_t kBlocks = 2;           // of rows that one pass serves
constexpr size_t kChunksPerFlush = 32;  // 8 look-ups a chunk x 255 x 32 = 65280 < 2^16
constexpr size_t kEights = kBlocks * kBlockRows / 8;

inline __m256i Twice(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

// Sums of the bytes of many vectors: `all` adds 16-bit words as they are, `odd` their upper bytes.
struct ByteSums {
  __m256i all = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();

  void Add(__m256i bytes) {
    all = AddShorts(all, bytes);
    odd = AddShorts(odd, _mm256_mulhi_epu16(bytes, _mm256_set1_epi16(256)));
  }

  // As 16-bit numbers, those of the first and of the last eight bytes of each half.
  void Widen(__m256i words[2]) const {
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    words[0] = _mm256_unpacklo_epi16(even, odd);
    words[1] = _mm256_unpackhi_epi16(even, odd);
  }
};

struct Isa {
  static constexpr int kColumns = 2;
  static constexpr size_t kBytesPerChunk = kTables * kTableBytes + 32;  // after the tables the sum of |xq| so far

  static float BuildTables(const float* x, size_t columns, size_t chunks, int16_t* xq, uint8_t* tables) {
    const float s = Quantize(x, columns, chunks, xq);
    const __m256i first = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11,  //
                                           0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11);
    const __m256i second = _mm256_setr_epi8(4, 5, 4, 5, 6, 7, 6, 7, 12, 13, 12, 13, 14, 15, 14, 15,  //
                                            4, 5, 4, 5, 6, 7, 6, 7, 12, 13, 12, 13, 14, 15, 14, 15);
    const __m256i each_four_times = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3,  //
                                                     4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7);
    const __m256i bytes_apart = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                                 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    int32_t magnitude = 0;
    for (size_t chunk = 0; chunk < chunks; ++chunk, tables += kBytesPerChunk) {
      alignas(32) int16_t pairs[2 * kTables][4];  // tables of two inputs
      __m256i magnitudes = _mm256_setzero_si256();
      for (size_t half = 0; half < 2; ++half) {
        const __m256i q = Load(xq + chunk * kChunkColumns + 16 * half);
        const __m256i positive = _mm256_max_epi16(q, _mm256_setzero_si256()), negative = _mm256_sub_epi16(positive, q);
        const __m256i both[2] = {_mm256_unpacklo_epi16(negative, positive), _mm256_unpackhi_epi16(negative, positive)};
        const __m256i sums[2] = {
            _mm256_add_epi16(_mm256_shuffle_epi8(both[0], first), _mm256_shuffle_epi8(both[0], second)),
            _mm256_add_epi16(_mm256_shuffle_epi8(both[1], first), _mm256_shuffle_epi8(both[1], second))};
        auto* out = reinterpret_cast<__m256i*>(pairs[8 * half]);
        _mm256_store_si256(out, _mm256_permute2x128_si256(sums[0], sums[1], 0x20));
        _mm256_store_si256(out + 1, _mm256_permute2x128_si256(sums[0], sums[1], 0x31));
        magnitudes = _mm256_add_epi32(magnitudes, _mm256_madd_epi16(_mm256_abs_epi16(q), _mm256_set1_epi16(1)));
      }
      for (size_t table = 0; table < kTables; ++table) {
        int64_t low, high;
        __builtin_memcpy(&low, pairs[2 * table], sizeof low);
        __builtin_memcpy(&high, pairs[2 * table + 1], sizeof high);
        const __m256i entries =
            _mm256_add_epi16(_mm256_set1_epi64x(low), _mm256_shuffle_epi8(_mm256_set1_epi64x(high), each_four_times));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tables + table * kTableBytes),
                            _mm256_permute4x64_epi64(_mm256_shuffle_epi8(entries, bytes_apart), 0xd8));
      }
      magnitude += SumOfLanes(magnitudes);
      __builtin_memcpy(tables + kTables * kTableBytes, &magnitude, sizeof magnitude);
    }
    return s;
  }

  template <int C>
  static void Segment(const Product& product, const BcqSegment& segment, const uint8_t* tables, size_t table_stride,
                      const float* s, float* const* y) {
    const BcqMatrix& matrix = *product.weight;
    for (size_t block = segment.begin / kBlockRows; block * kBlockRows < segment.end; block += kBlocks) {
      const bool alone = (block + 1) * kBlockRows >= segment.end;  // the second block is the first once more
      __m256 totals[C][kEights];
      for (int c = 0; c < C; ++c) std::fill_n(totals[c], kEights, _mm256_setzero_ps());
      for (size_t group = 0; group < matrix.groups; ++group) {
        for (int plane = 0; plane < segment.planes; ++plane) {
          AddPlane<C>(matrix, segment, block, alone, plane, group, tables, table_stride, totals);
        }
      }
      const size_t row = block * kBlockRows;
      const size_t first = std::max(row, segment.begin) - row;
      const size_t last = std::min(row + kBlocks * kBlockRows, segment.end) - row;
      for (int c = 0; c < C; ++c) {
        for (__m256& total : totals[c]) total = _mm256_mul_ps(total, _mm256_set1_ps(s[c]));
        StoreRows(totals[c], product.bias ? product.bias + row : nullptr, first, last, y[c] + row);
      }
    }
  }

 private:
  // Sum of |xq| of the chunks before this one.
  static int32_t MagnitudeBefore(const uint8_t* tables, size_t chunk) {
    if (chunk == 0) return 0;
    int32_t magnitude;
    __builtin_memcpy(&magnitude, tables + chunk * kBytesPerChunk - 32, sizeof magnitude);
    return magnitude;
  }

  // Look-ups of some chunks of 32 rows' codes in C columns' tables. `ahead` words on are the codes of the next blocks:
  // the CPU's own prefetching begins anew with every plane of every two blocks, and ends with every page. Base-size
  // weights, 13 MB in L3: 2.1 to 2.9 ms a token without it, 0.9 to 1.3 with it; the default model's 2.6 MB: no change.
  template <int C>
  static void AddChunks(const uint32_t* top, const uint32_t* bottom, size_t ahead, const uint8_t* tables,
                        size_t table_stride, size_t chunks, ByteSums (&low)[C], ByteSums (&high)[C]) {
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i gather = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (const uint32_t* end = top + chunks * kBlockRows; top < end;
         top += kBlockRows, bottom += kBlockRows, tables += kBytesPerChunk) {
      _mm_prefetch(top + ahead, _MM_HINT_T0);
      _mm_prefetch(bottom + ahead, _MM_HINT_T0);
      const __m256i a = _mm256_shuffle_epi8(Load(top), gather), b = _mm256_shuffle_epi8(Load(top + 8), gather);
      const __m256i c = _mm256_shuffle_epi8(Load(bottom), gather), d = _mm256_shuffle_epi8(Load(bottom + 8), gather);
      const __m256i ab[2] = {_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)};
      const __m256i cd[2] = {_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d)};
      Unroll<4>([&](auto position) {
        const __m256i bytes = position % 2 == 0 ? _mm256_unpacklo_epi64(ab[position / 2], cd[position / 2])
                                                : _mm256_unpackhi_epi64(ab[position / 2], cd[position / 2]);
        const __m256i even = _mm256_and_si256(bytes, nibble);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
        Unroll<C>([&](auto j) {
          const uint8_t* t = tables + j * table_stride + 2 * kTableBytes * position;
          low[j].Add(_mm256_shuffle_epi8(Twice(t), even));
          low[j].Add(_mm256_shuffle_epi8(Twice(t + 32), odd));
          high[j].Add(
              _mm256_add_epi8(_mm256_shuffle_epi8(Twice(t + 16), even), _mm256_shuffle_epi8(Twice(t + 48), odd)));
        });
      });
    }
  }

  template <int C>
  static void AddPlane(const BcqMatrix& matrix, const BcqSegment& segment, size_t block, bool alone, int plane,
                       size_t group, const uint8_t* tables, size_t table_stride, __m256 (*totals)[kEights]) {
    const size_t first = group * matrix.chunks_per_group;
    const size_t last = std::min(first + matrix.chunks_per_group, matrix.chunks);
    const uint32_t* top = matrix.planes[plane] + block * matrix.chunks * kBlockRows;
    const uint32_t* bottom = alone ? top : top + matrix.chunks * kBlockRows;
    __m256i sums[C][kEights];
    for (int c = 0; c < C; ++c) std::fill_n(sums[c], kEights, _mm256_setzero_si256());
    for (size_t chunk = first; chunk < last;) {
      const size_t flush = std::min(kChunksPerFlush, last - chunk);
      ByteSums low[C], high[C];
      AddChunks(top + chunk * kBlockRows, bottom + chunk * kBlockRows, kBlocks * matrix.chunks * kBlockRows,
                tables + chunk * kBytesPerChunk, table_stride, flush, low, high);
      chunk += flush;
      Unroll<C>([&](auto j) {
        __m256i lows[2], highs[2];
        low[j].Widen(lows);
        high[j].Widen(highs);
        const __m256i bias = _mm256_set1_epi16(-32768), factors = _mm256_set1_epi32(0x01000001);
        Unroll<2>([&](auto i) {
          lows[i] = _mm256_xor_si256(lows[i], bias);
          const __m256i eights[2] = {_mm256_unpacklo_epi16(lows[i], highs[i]),
                                     _mm256_unpackhi_epi16(lows[i], highs[i])};
          Unroll<2>([&](auto k) {
            sums[j][2 * i + k] = _mm256_add_epi32(sums[j][2 * i + k], _mm256_madd_epi16(eights[k], factors));
          });
        });
      });
    }
    const uint16_t* scales = segment.scales + (plane * matrix.groups + group) * segment.scale_rows +
                             block * kBlockRows - segment.scale_begin;
    const int32_t flushes = static_cast<int32_t>((last - first + kChunksPerFlush - 1) / kChunksPerFlush);
    __m256i surplus[C];
    Unroll<C>([&](auto j) {
      const uint8_t* own = tables + j * table_stride;
      surplus[j] = _mm256_set1_epi32(flushes * 65536 - MagnitudeBefore(own, last) + MagnitudeBefore(own, first));
    });
    Unroll<kEights>([&](auto i) {
      const uint16_t* eight = scales + (alone ? 8 * (i % 2) : 8 * i);
      const __m256 alpha = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(eight)));
      Unroll<C>([&](auto j) {
        const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sums[j][i], 1), surplus[j]);
        totals[j][i] = _mm256_add_ps(totals[j][i], _mm256_mul_ps(alpha, _mm256_cvtepi32_ps(sum)));
      });
    });
  }
};

// The contract's weights of 16 rows, for subset sums.
struct TableWeights {
  float alpha[kMaxPlanes][kBlockRows];
  size_t planes;

  TableWeights(const BcqSegment& segment, size_t row) : planes(static_cast<size_t>(segment.planes)) {
    for (size_t i = 0; i < planes; ++i) {
      const uint16_t* halves = segment.scales + i * segment.scale_rows + row - segment.scale_begin;
      for (size_t r = 0; r < kBlockRows; r += 8) {
        const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + r));
        _mm256_storeu_ps(alpha[i] + r, _mm256_cvtph_ps(eight));
      }
    }
  }

  static float Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    return avx2::Quantize(x, columns, chunks, xq);
  }

  template <typename Sum>
  __m256 Row(size_t r, const Sum& sum) const {
    __m256 total = _mm256_setzero_ps();
    for (size_t i = 0; i < planes; ++i) {
      total = _mm256_add_ps(total, _mm256_mul_ps(_mm256_set1_ps(alpha[i][r]), _mm256_cvtepi32_ps(sum(i))));
    }
    return total;
  }
};

}  // namespace

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  const auto one_group = [](const Product& product) { return product.weight->groups == 1; };
  size_t done = 0;
  if (std::all_of(products, products + num_products, one_group)) {
    done = MultiplyBySubsetSums<TableWeights>(products, num_products, kMaxPlanes, x, x_stride, columns, n, scratch);
  }
  TableMatmul<Isa>(products, num_products, x, x_stride, columns, done, n, scratch);
}

}  // namespace avx2
}  // namespace sub3
