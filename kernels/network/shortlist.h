// The shortlist: the output layer with the candidates of a sentence alone.
//
// A lexicon has the target tokens that may translate each source token, and those that any sentence may need. The
// candidates of a sentence follow from its own tokens, so they do not depend on its batch. Their rows are gathered
// once, when it joins; the product and its bits are then those of the whole layer at these rows.

#ifndef SUB3_KERNELS_SHORTLIST_H_
#define SUB3_KERNELS_SHORTLIST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/network/tensor_table.h"
#include "kernels/network/workspace.h"
#include "kernels/products/bcq_matrix.h"

namespace sub3 {

// Views of the tensors "shortlist.always" [num_always], "shortlist.offsets" [source_vocab_size + 1] and
// "shortlist.rows": source token t has the target tokens rows[offsets[t] .. offsets[t + 1]).
struct Lexicon {
  const uint32_t* always = nullptr;
  size_t num_always = 0;
  const uint32_t *offsets = nullptr, *rows = nullptr;

  bool empty() const { return offsets == nullptr; }
};

// The lexicon of a table; empty if it has none. Throws InvalidModel on a part of one, or numbers out of range.
Lexicon ReadLexicon(size_t source_vocab_size, size_t target_vocab_size, TensorTable* table);

// The candidates of a source in ascending order: the lexicon's and those of `also`, but none of `never`.
std::vector<int32_t> CandidatesOf(const Lexicon& lexicon, const int32_t* tokens, size_t num_tokens,
                                  const std::vector<int32_t>& also, const std::vector<int32_t>& never);

// The rows of a matrix, which ascend, as a matrix of their own in the workspace.
BcqMatrix GatherRows(const BcqMatrix& matrix, const std::vector<int32_t>& rows, Workspace* workspace);

// The entries of a vector, null if it is.
const float* GatherEntries(const float* vector, const std::vector<int32_t>& entries, Workspace* workspace);

}  // namespace sub3

#endif  // SUB3_KERNELS_SHORTLIST_H_
