// The Transformer: an encoder pass over whole sentences, and a decoder that takes one step for many rows at a time.

#ifndef SUB3_KERNELS_TRANSFORMER_H_
#define SUB3_KERNELS_TRANSFORMER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/isa.h"
#include "kernels/model.h"
#include "kernels/workspace.h"

namespace sub3 {

class Cancelled {};  // thrown when the caller's flag is set

// What every pass needs besides the model.
struct Context {
  const Isa* isa;
  const int32_t* cancel;  // may be null

  void ThrowIfCancelled() const {
    if (cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0) throw Cancelled();
  }
};

// Encoder states of sentences of unequal lengths, one after the other without padding.
struct Encoded {
  const float* states;          // [tokens, d_model]
  std::vector<size_t> offsets;  // sentence i is rows offsets[i] .. offsets[i + 1]

  size_t length(size_t sentence) const { return offsets[sentence + 1] - offsets[sentence]; }
  size_t tokens() const { return offsets.back(); }
};

// tokens: all sentences' ids, split by offsets. The states live in *states; scratch memory is freed on return and
// its size added to *peak_bytes.
Encoded Encode(const Model& model, const Context& context, const int32_t* tokens, std::vector<size_t> offsets,
               Workspace* states, uint64_t* peak_bytes);

// A row of a decoder step: the token to read, the row of the previous step whose history it continues (-1: none), and
// the sentence that it translates.
struct StepRow {
  int32_t token;
  int32_t parent;
  uint32_t sentence;
};

// Rows may come and go between steps and be at different positions. Keys and values of a step are written once;
// a row finds its own through a list of slots, so reordering a beam copies four bytes a position.
class Decoder {
 public:
  Decoder(const Model& model, const Context& context, const Encoded& encoded, size_t max_rows, size_t max_length);

  // logits: [rows.size(), target_vocab_size].
  void Step(const std::vector<StepRow>& rows, float* logits);

  uint64_t workspace_bytes() const { return workspace_.bytes(); }
  uint64_t kv_cache_bytes() const { return kv_cache_.bytes(); }

 private:
  enum Part { kKey, kValue };

  void SelfAttention(const DecoderLayer& layer, size_t l, size_t n);
  void EncoderAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows);
  void ReserveSlots(size_t n);
  float* Slot(size_t l, Part part, size_t slot) const;

  const Model& model_;
  const Context& context_;
  const Encoded& encoded_;
  const size_t max_rows_, max_length_;
  Workspace workspace_, kv_cache_;

  size_t slots_per_page_;
  std::vector<float*> pages_;  // each [layers, key | value, slots_per_page, d_model]
  size_t first_slot_ = 0;      // of this step
  size_t next_slot_ = 0;
  std::vector<const float*> encoder_keys_, encoder_values_;  // of each layer: [tokens, d_model]

  std::vector<uint32_t> lengths_, previous_lengths_;  // of each row's history
  uint32_t *history_, *previous_history_;             // [max_rows, max_length] slots

  float *x_, *normed_, *q_, *attended_, *projected_, *inner_, *scores_;
  const float **keys_, **values_;
  void* scratch_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_TRANSFORMER_H_
