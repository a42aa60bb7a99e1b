// The words of one side of a vocabulary, row by row, in one buffer: as Python objects 32,768 of them would be 7 MB, a
// third of the weights that they name.

#ifndef SUB3_KERNELS_WORDS_H_
#define SUB3_KERNELS_WORDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sub3 {

// Pieces in UTF-8, one after the other, and how often each was met.
struct WordRows {
  std::string text;
  std::vector<uint32_t> offsets = {0};  // [rows + 1], where each begins
  std::vector<int64_t> counts;
};

class Words {
 public:
  // Throws std::invalid_argument with what is wrong: a count is negative, or a piece occurs twice.
  explicit Words(WordRows rows);

  size_t size() const { return rows_.counts.size(); }
  const WordRows& rows() const { return rows_; }
  std::string_view Piece(size_t row) const;

  // The row of a piece.
  std::optional<size_t> Find(std::string_view piece) const;

 private:
  size_t SlotOf(std::string_view piece) const;

  WordRows rows_;
  std::vector<uint32_t> slots_;  // an open hash table, half of it empty at least: row + 1; 0 = nothing
};

struct ScannedVocabulary {
  std::optional<Words> source, target;  // there is always a source
};

// The words of {"source": [[piece, count], ...], "target": null or such a list}. Nothing where a document is not just
// that, with counts of up to 18 digits and keys in this order: another reader must judge it. It has to be UTF-8.
// Throws as Words does.
std::optional<ScannedVocabulary> ScanVocabulary(std::string_view json);

}  // namespace sub3

#endif  // SUB3_KERNELS_WORDS_H_
