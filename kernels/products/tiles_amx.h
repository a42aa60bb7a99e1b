// AMX: products of 8-bit integers in tile registers, shared by both products.
//
// A tile holds 16 rows of 64 bytes. TDPBSSD multiplies a tile of inputs, [tokens][64 columns], by a tile of weights,
// [16 times 4 columns][16 rows][4 columns], and adds to a tile of sums, int32 [tokens][16 rows]: 16,384 products in 16
// cycles. Its latency is 52 cycles, so at least four tiles of sums take turns. Six of the eight registers are sums.
//
// The configuration of the registers belongs to the thread, and other libraries set it too, so it is set for each call
// and given back after it.

#ifndef SUB3_KERNELS_TILES_AMX_H_
#define SUB3_KERNELS_TILES_AMX_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/floats/unroll.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {
namespace {

constexpr size_t kTileRows = 16;     // of weights and of inputs
constexpr size_t kTileColumns = 64;  // of both
constexpr size_t kTileBytes = kTileRows * kTileColumns;
constexpr size_t kTileSums = 6;

// Sets the tile registers up for inputs and sums of `rows` rows, at most 16, while it lives.
class TileRegisters {
 public:
  explicit TileRegisters(size_t rows) {
    alignas(64) struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (size_t i = 0; i < 8; ++i) {
      config.bytes[i] = kTileColumns;
      config.rows[i] = static_cast<uint8_t>(i == 6 ? kTileRows : rows);
    }
    _tile_loadconfig(&config);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// The registers are named by literals: 0 to 5 are sums, 6 weights, 7 inputs.
#define SUB3_FOR_TILE(statement)      \
  if constexpr (I == 0) statement(0); \
  if constexpr (I == 1) statement(1); \
  if constexpr (I == 2) statement(2); \
  if constexpr (I == 3) statement(3); \
  if constexpr (I == 4) statement(4); \
  if constexpr (I == 5) statement(5)
#define SUB3_ZERO(i) _tile_zero(i)
#define SUB3_STORE(i) _tile_stored(i, to, kTileColumns)
#define SUB3_ADD_SIGNED(i) _tile_dpbssd(i, 7, 6)
#define SUB3_ADD_UNSIGNED(i) _tile_dpbsud(i, 7, 6)
template <size_t I>
inline void ZeroSums() {
  SUB3_FOR_TILE(SUB3_ZERO);
}
template <size_t I>
inline void StoreSums(int32_t* to) {
  SUB3_FOR_TILE(SUB3_STORE);
}
template <size_t I, bool kUnsigned>
inline void AddProducts() {
  if constexpr (kUnsigned) {
    SUB3_FOR_TILE(SUB3_ADD_UNSIGNED);
  } else {
    SUB3_FOR_TILE(SUB3_ADD_SIGNED);
  }
}
#undef SUB3_FOR_TILE
#undef SUB3_ZERO
#undef SUB3_STORE
#undef SUB3_ADD_SIGNED
#undef SUB3_ADD_UNSIGNED

// Where tiles lie, in bytes: tile (i, k) begins at i * tile + k * step, its rows are `row` apart.
struct TileLayout {
  const void* data;
  size_t tile, step, row;

  const char* At(size_t i, size_t k) const { return static_cast<const char*>(data) + i * tile + k * step; }
};

// Adds the products of B tiles of weights, unsigned or signed, and A of inputs to the sums b * A + a, over `steps`
// times 64 columns.
template <size_t B, size_t A, bool kUnsigned>
inline void MultiplyTiles(const TileLayout& weights, const TileLayout& inputs, size_t steps) {
  static_assert(B * A <= kTileSums);
  for (size_t k = 0; k < steps; ++k) {
    Unroll<B>([&](auto b) {
      _tile_loadd(6, weights.At(b, k), weights.row);
      Unroll<A>([&](auto a) {
        _tile_loadd(7, inputs.At(a, k), inputs.row);
        AddProducts<b * A + a, kUnsigned>();
      });
    });
  }
}

// n inputs in as few equal shares of at most `most` as there can be; the last begins earlier, so that it is full.
struct Shares {
  size_t n, count, size;

  Shares(size_t n, size_t most) : n(n), count((n + most - 1) / most), size((n + count - 1) / count) {}
  size_t Begin(size_t share) const { return share + 1 == count ? n - size : share * size; }
  // The inputs of a share that the one before does not have.
  size_t New(size_t share) const { return share * size - Begin(share); }
};

}  // namespace
}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3

#endif  // SUB3_KERNELS_TILES_AMX_H_
