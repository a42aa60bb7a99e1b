// The Transformer: an encoder pass over whole sentences, and a decoder that takes one step for many rows at a time.

#ifndef SUB3_KERNELS_TRANSFORMER_H_
#define SUB3_KERNELS_TRANSFORMER_H_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "kernels/network/model.h"
#include "kernels/network/thread_pool.h"
#include "kernels/network/workspace.h"
#include "kernels/products/isa.h"

namespace sub3 {

class Cancelled : public std::exception {};  // thrown when the caller's flag is set

// The instruction set, cancel flag and threads of a pass.
struct Context {
  const Isa* isa;
  const int32_t* cancel;  // may be null
  ThreadPool* pool;

  void ThrowIfCancelled() const {
    if (cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0) throw Cancelled();
  }
};

// Scratch memory of products and attention, separate for each part of a split loop: `parts` at most, `width` now.
struct Scratch {
  char* memory;
  size_t part_bytes;
  size_t parts, width;

  void* Of(size_t part) const { return memory + part * part_bytes; }
};

// Encoder states of sentences of different lengths, concatenated without padding.
struct Encoded {
  const float* states;          // [tokens, d_model]
  std::vector<size_t> offsets;  // sentence i is rows offsets[i] .. offsets[i + 1]
  uint64_t pass_bytes;          // memory that the encoder's pass held, the states included

  size_t length(size_t sentence) const { return offsets[sentence + 1] - offsets[sentence]; }
  size_t tokens() const { return offsets.back(); }
};

// Runs the encoder. tokens: the ids of all sentences, split by offsets. The states live in *states; scratch memory is
// freed on return.
Encoded Encode(const Model& model, const Context& context, const int32_t* tokens, std::vector<size_t> offsets,
               Workspace* states);

// The decoder's state of one running sentence, KV cache included; freed with the sentence. What rows remember of their
// positions is in the cache: a model with self-attention keeps the keys and values of all, one with SSRUs a vector a
// layer.
struct DecoderState {
  static constexpr size_t kSlotsPerPage = 16;

  // Makes room for max_rows rows of up to max_length positions; Decoder::Join fills in the encoder's side. If
  // alignment_layer > 0, the cross-attention of that layer, the mean of its heads, is kept for each row and step.
  DecoderState(const Model& model, size_t source_length, size_t max_rows, size_t max_length,
               uint32_t alignment_layer = 0);

  // Restricts the output layer to the candidates, which ascend, for this sentence alone.
  void Shortlist(const Linear& output, const std::vector<int32_t>& candidates);

  // The cross-attention of the row in a slot: [source_length].
  float* alignment(size_t slot) const {
    return alignments[slot / kSlotsPerPage] + slot % kSlotsPerPage * source_length;
  }

  const size_t source_length, max_rows, max_length;
  const uint32_t alignment_layer;
  size_t length = 0;  // target positions read so far, the same for all rows
  Workspace kv_cache, workspace;
  std::optional<Linear> output;                      // of its candidates; else the model's
  std::vector<float*> encoder_keys, encoder_values;  // of each layer: [source_length, d_model]
  std::vector<float*> alignments;                    // pages, each [kSlotsPerPage, source_length]
  size_t num_slots = 0;                              // in use on all kinds of pages: one for each row and step

  // With self-attention:
  std::vector<float*> pages;                                 // each [layers, key | value, kSlotsPerPage, d_model]
  uint32_t *history = nullptr, *previous_history = nullptr;  // [max_rows, max_length]: the slots of a row's positions

  // With SSRUs: the c of each row, [layers, max_rows, d_model], after this step and the one before it.
  float *recurrent = nullptr, *previous_recurrent = nullptr;
};

// A row of a decoder step: its sentence, the row of the sentence's previous step that it continues (0 at the
// first step), and the token to read.
struct StepRow {
  DecoderState* sentence;
  uint32_t parent;
  int32_t token;
};

// Takes a step for the rows of many sentences at once. Sentences may join and leave between steps and be at different
// positions. The KV cache is written once; a row finds its keys and values through a list of slots, so reordering a
// beam copies four bytes for each position. An SSRU reads what the row it continues had and writes another vector.
class Decoder {
 public:
  Decoder(const Model& model, const Context& context) : model_(model), context_(context) {}

  // Computes the keys and values of cross-attention, which are the same at every step: sentences[i] is sentence i of
  // `encoded`. Its scratch memory, freed on return, is smaller than that of the encoder's pass: two of its five arrays.
  void Join(const Encoded& encoded, const std::vector<DecoderState*>& sentences) const;

  // Allocates scratch memory for steps of up to max_rows rows over up to `longest` positions of source or target. It
  // grows as needed and shrinks when more than half of it is unused; Reserve(0, 0) frees it.
  void Reserve(size_t max_rows, size_t longest);

  // Takes a step. rows: those of a sentence are adjacent. logits: of each row in turn, [target_vocab_size], or where
  // its sentence has a shortlist [candidates].
  void Step(const std::vector<StepRow>& rows, float* logits);

  uint64_t workspace_bytes() const { return workspace_.bytes(); }

 private:
  struct AttentionScratch;

  void Advance(const std::vector<StepRow>& rows);
  void SelfAttention(const Attention& attention, size_t l, const std::vector<StepRow>& rows);
  void Recur(const Ssru& ssru, size_t l, const std::vector<StepRow>& rows);
  void EncoderAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows);
  void AttendAligned(const DecoderState& sentence, size_t l, size_t row, float* weights);

  const Model& model_;
  const Context& context_;
  size_t max_rows_ = 0, longest_ = 0;
  Workspace workspace_;
  float *x_, *normed_, *q_, *k_, *v_, *attended_, *projected_, *inner_;
  Scratch scratch_;

  // Of each row of this step: its number among those of its sentence, and its slot.
  struct Place {
    size_t row, slot;
  };
  std::vector<Place> places_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_TRANSFORMER_H_
