#include "kernels/network/shortlist.h"

#include <algorithm>

namespace sub3 {

namespace {

void RequireBelow(const uint32_t* numbers, size_t n, size_t limit, const char* name) {
  if (std::any_of(numbers, numbers + n, [&](uint32_t number) { return number >= limit; })) {
    throw InvalidModel(std::string("Tensor \"") + name + "\" has a token outside the target vocabulary.");
  }
}

// Copies the code words of gathered row `to` from row `from` of the matrix.
void CopyWords(const BcqMatrix& matrix, int plane, size_t from, size_t to, uint32_t* words) {
  const uint32_t* source = WordsOf(matrix, plane, from);
  uint32_t* target = words + to / kBlockRows * matrix.chunks * kBlockRows + to % kBlockRows;
  for (size_t chunk = 0; chunk < matrix.chunks; ++chunk) target[chunk * kBlockRows] = source[chunk * kBlockRows];
}

size_t UpToBlocks(size_t rows) { return (rows + kBlockRows - 1) / kBlockRows * kBlockRows; }

// The gathered rows [begin, end), which all lie in `segment` of the matrix, with their scales.
BcqSegment GatherScales(const BcqMatrix& matrix, const BcqSegment& segment, const std::vector<int32_t>& rows,
                        size_t begin, size_t end, Workspace* workspace) {
  const size_t first = begin / kBlockRows * kBlockRows, scale_rows = UpToBlocks(end) - first;
  const size_t lines = static_cast<size_t>(segment.planes) * matrix.groups;
  uint16_t* scales = workspace->Allocate<uint16_t>(lines * scale_rows);
  std::fill_n(scales, lines * scale_rows, uint16_t{0});
  for (size_t line = 0; line < lines; ++line) {
    const uint16_t* source = segment.scales + line * segment.scale_rows;
    for (size_t r = begin; r < end; ++r) {
      scales[line * scale_rows + r - first] = source[static_cast<size_t>(rows[r]) - segment.scale_begin];
    }
  }
  return {begin, end, segment.planes, scales, first, scale_rows};
}

}  // namespace

Lexicon ReadLexicon(size_t source_vocab_size, size_t target_vocab_size, TensorTable* table) {
  const TensorTable::Numbers always = table->Integers("shortlist.always"), rows = table->Integers("shortlist.rows"),
                             offsets = table->Integers("shortlist.offsets");
  if (always.size == 0 && rows.size == 0 && offsets.size == 0) return {};
  if (always.size == 0 || rows.size == 0 || offsets.size != source_vocab_size + 1) {
    throw InvalidModel(
        "A shortlist has the tensors \"shortlist.always\", \"shortlist.rows\" and \"shortlist.offsets\", the last with "
        "an entry more than the source vocabulary.");
  }
  const uint32_t* last = offsets.data + source_vocab_size;
  if (offsets.data[0] != 0 || *last != rows.size || !std::is_sorted(offsets.data, last + 1)) {
    throw InvalidModel("Tensor \"shortlist.offsets\" does not divide \"shortlist.rows\".");
  }
  RequireBelow(always.data, always.size, target_vocab_size, "shortlist.always");
  RequireBelow(rows.data, rows.size, target_vocab_size, "shortlist.rows");
  return {always.data, always.size, offsets.data, rows.data};
}

std::vector<int32_t> CandidatesOf(const Lexicon& lexicon, const int32_t* tokens, size_t num_tokens,
                                  const std::vector<int32_t>& also, const std::vector<int32_t>& never) {
  std::vector<int32_t> found(lexicon.always, lexicon.always + lexicon.num_always);
  for (size_t i = 0; i < num_tokens; ++i) {
    const uint32_t* of = lexicon.offsets + tokens[i];
    found.insert(found.end(), lexicon.rows + of[0], lexicon.rows + of[1]);
  }
  found.insert(found.end(), also.begin(), also.end());
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  for (const int32_t token : never) found.erase(std::remove(found.begin(), found.end(), token), found.end());
  return found;
}

BcqMatrix GatherRows(const BcqMatrix& matrix, const std::vector<int32_t>& rows, Workspace* workspace) {
  BcqMatrix gathered = matrix;
  gathered.rows = rows.size();
  gathered.segments.clear();
  size_t end_of_plane[kMaxPlanes] = {};  // the rows up to the last that has the plane
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    const BcqSegment& segment = SegmentOf(matrix, static_cast<size_t>(rows[begin]));
    while (end < rows.size() && static_cast<size_t>(rows[end]) < segment.end) ++end;
    gathered.segments.push_back(GatherScales(matrix, segment, rows, begin, end, workspace));
    std::fill_n(end_of_plane, segment.planes, end);
  }
  for (int i = 0; i < kMaxPlanes; ++i) {
    gathered.planes[i] = nullptr;
    const size_t words = UpToBlocks(end_of_plane[i]) * matrix.chunks;
    if (words == 0) continue;
    uint32_t* plane = workspace->Allocate<uint32_t>(words);
    std::fill_n(plane, words, 0u);
    for (const BcqSegment& segment : gathered.segments) {
      for (size_t r = segment.begin; segment.planes > i && r < segment.end; ++r) {
        CopyWords(matrix, i, static_cast<size_t>(rows[r]), r, plane);
      }
    }
    gathered.planes[i] = plane;
  }
  return gathered;
}

const float* GatherEntries(const float* vector, const std::vector<int32_t>& entries, Workspace* workspace) {
  if (vector == nullptr) return nullptr;
  float* gathered = workspace->Allocate<float>(entries.size());
  std::transform(entries.begin(), entries.end(), gathered, [&](int32_t entry) { return vector[entry]; });
  return gathered;
}

}  // namespace sub3
