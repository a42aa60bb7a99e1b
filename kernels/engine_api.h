/* The C ABI of the engine. cffi parses this file as it stands and network/tensor_table.h includes it inside extern "C",
 * so it has declarations only, no #include and no #if.
 *
 * Rules: fixed-width types; every pointer comes with its length; the caller allocates the outputs. Any number of
 * threads may use a model, which is immutable; one thread at a time may use a batch. Scratch memory belongs to the call
 * or the batch. No exception crosses the border: functions return a status, and sub3_last_error() has the message. */

#define SUB3_OK 0
#define SUB3_INVALID_MODEL 1
#define SUB3_INVALID_REQUEST 2
#define SUB3_CANCELLED 3
#define SUB3_OUT_OF_MEMORY 4
#define SUB3_INTERNAL 5

#define SUB3_FLOAT32 1
#define SUB3_FLOAT16 2
#define SUB3_UINT32 3

#define SUB3_MAX_THREADS 256
#define SUB3_MAX_BEAM_SIZE 64

/* The format of the codes: rows interleaved in a plane, columns in a code word, planes of a matrix. */
#define SUB3_BLOCK_ROWS 16
#define SUB3_WORD_COLUMNS 32
#define SUB3_MAX_PLANES 8

#define SUB3_RELU 1
#define SUB3_SWISH 2
#define SUB3_GELU 3

/* The rates of the sines, as in network/positions.h. */
#define SUB3_MARIAN_POSITIONS 0
#define SUB3_FAIRSEQ_POSITIONS 1
#define SUB3_TENSOR2TENSOR_POSITIONS 2

typedef struct sub3_model sub3_model;
typedef struct sub3_batch sub3_batch;

typedef struct {
  const char* name;
  uint32_t dtype;
  uint32_t num_dims;
  uint64_t shape[3];
  const void* data;
  uint64_t bytes;
} sub3_tensor;

/* Rows [begin, end) of a matrix use the first `planes` planes and the tensor "<matrix>.scales.<planes>", whose first
 * row is `scale_begin`. Each group of `group_size` columns (a multiple of 32; 0 = the whole row) has a scale of its
 * own. */
typedef struct {
  const char* matrix;
  uint64_t begin;
  uint64_t end;
  uint32_t planes;
  uint64_t scale_begin;
  uint64_t group_size;
} sub3_segment;

typedef struct {
  uint32_t d_model;
  uint32_t source_vocab_size;
  uint32_t target_vocab_size;
  uint32_t encoder_layers;
  uint32_t encoder_heads;
  uint32_t encoder_ffn_dim;
  uint32_t decoder_layers;
  uint32_t decoder_heads;
  uint32_t decoder_ffn_dim;
  uint32_t activation;
  uint32_t pre_norm;
  uint32_t ssru; /* the decoder's layers have an SSRU (network/model.h) in the place of self-attention */
  float norm_epsilon;
  uint32_t scale_embedding;
  uint32_t max_positions;
  uint32_t positions; /* SUB3_MARIAN_POSITIONS and so on */
  uint32_t shared_vocabulary;
  uint32_t tied_output;
  int32_t eos;
  int32_t decoder_start;
  const int32_t* suppressed;
  uint64_t num_suppressed;
} sub3_config;

/* A phrase of target tokens that a translation must contain; eos and suppressed tokens are refused. Phrases of the same
 * constraint, numbered from 0, are alternatives: each hypothesis contains one of them if max_length has room for the
 * shortest phrase of each constraint. A sentence with phrases runs at least SUB3_CONSTRAINED_ROWS rows; beam_size is
 * still the number of its hypotheses. The phrase of the constraint SUB3_PREFIX, one at most, is what each hypothesis
 * begins with instead; it may be longer than others, and takes no rows. */
#define SUB3_CONSTRAINED_ROWS 8
#define SUB3_MAX_CONSTRAINTS 64
#define SUB3_PREFIX 65535
#define SUB3_MAX_PHRASES 512
#define SUB3_MAX_PHRASE_TOKENS 64

typedef struct {
  const int32_t* tokens;
  uint64_t num_tokens;
  uint32_t constraint;
} sub3_phrase;

/* Source i is tokens[offsets[i] .. offsets[i + 1]) and ends with eos; offsets has num_sources + 1 entries.
 * max_lengths[i] bounds the target tokens of source i, eos included. *cancel is read before each step; not 0 cancels
 * the call. */
typedef struct {
  const int32_t* tokens;
  uint64_t num_tokens;
  const uint64_t* offsets;
  uint64_t num_sources;
  const uint32_t* max_lengths;
  uint32_t min_length;
  uint32_t beam_size;
  uint32_t num_hypotheses;
  float length_penalty;
  const int32_t* cancel;
  uint32_t alignment_layer;   /* as in sub3_sentence, for every source */
  const sub3_phrase* phrases; /* of all sources, concatenated; may be null if there are none */
  uint64_t num_phrases;
  const uint64_t* phrase_offsets; /* like offsets, into phrases; may be null if there are none */
  uint32_t shortlist;             /* as in sub3_sentence, for every source */
} sub3_request;

/* Hypothesis h of source i, best first, without eos: tokens[(i * num_hypotheses + h) * max_length ..]. lengths is -1
 * for a hypothesis that was not found. alignments may be null. If it is not and alignments were requested,
 * alignments[((i * num_hypotheses + h) * (max_length + 1) + t) * max_source_length + s] is the attention to source
 * token s when target token t was chosen (the last t: eos); the sum over s is 1. The arrays belong to the caller. */
typedef struct {
  int32_t* tokens;
  uint64_t num_tokens;
  uint32_t max_length;
  int32_t* lengths;
  float* scores;
  uint64_t num_slots;
  double encode_seconds;
  double decode_seconds;
  uint64_t workspace_peak_bytes;
  uint64_t kv_cache_peak_bytes;
  float* alignments;
  uint64_t num_alignments;
  uint64_t max_source_length;
} sub3_result;

/* A sentence that joins a batch; the caller chooses its id. Its tokens end with eos; max_length bounds its target
 * tokens, eos included. alignment_layer is the decoder layer, from 1, whose cross-attention (the mean of its heads)
 * aligns the hypotheses; 0: no alignment, at no cost. If shortlist is not 0, only candidates are chosen: the target
 * tokens that the model's lexicon has for the source's tokens, eos and the tokens of the phrases
 * (network/shortlist.h). */
typedef struct {
  uint64_t id;
  const int32_t* tokens;
  uint64_t num_tokens;
  uint32_t max_length;
  uint32_t min_length;
  uint32_t beam_size;
  float length_penalty;
  uint32_t alignment_layer;
  const sub3_phrase* phrases;
  uint64_t num_phrases;
  uint32_t shortlist;
} sub3_sentence;

/* The steps of one call. ended has room for `capacity` ids, at least as many as there are running sentences. num_rows
 * is the sum over the steps. The bytes are those that the whole batch holds on return. */
typedef struct {
  uint64_t* ended;
  uint64_t capacity;
  uint64_t num_ended;
  uint64_t num_steps;
  uint64_t num_rows;
  double seconds;
  uint64_t workspace_bytes;
  uint64_t kv_cache_bytes;
} sub3_progress;

/* The message of the calling thread's last failure. */
const char* sub3_last_error(void);

/* The name of the instruction set in use, chosen once: the best that the CPU has, or the environment's SUB3_FORCE_ISA.
 * NULL if that one is unknown or the CPU lacks it. */
const char* sub3_isa(void);

/* Sets how many threads compute in this process at most, those that call included: 1 at first, SUB3_MAX_THREADS at
 * most. The loops of a call that runs alone are shared out among them; results are the same to the bit. */
int32_t sub3_set_threads(uint32_t threads);

int32_t sub3_model_create(const sub3_config* config, const sub3_tensor* tensors, uint64_t num_tensors,
                          const sub3_segment* segments, uint64_t num_segments, sub3_model** model);
void sub3_model_destroy(sub3_model* model);
uint64_t sub3_model_weight_bytes(const sub3_model* model);

/* Bytes that a model of this architecture allocates for its table of positions, beside the tensors it points to. */
uint64_t sub3_position_table_bytes(uint32_t max_positions, uint32_t d_model);

int32_t sub3_translate(const sub3_model* model, const sub3_request* request, sub3_result* result);

/* Creates a running batch: sentences join between two steps and leave when they end or are removed. Each gets the
 * result that sub3_translate gives it alone. The model must outlive the batch. */
int32_t sub3_batch_create(const sub3_model* model, sub3_batch** batch);
void sub3_batch_destroy(sub3_batch* batch);

/* Encodes sentences together and adds them. A failure leaves the batch unchanged. */
int32_t sub3_batch_add(sub3_batch* batch, const sub3_sentence* sentences, uint64_t num_sentences);

/* Takes steps until a sentence has ended, max_steps are taken, or *interrupt (may be null) is not 0 after a step. After
 * a failure the batch must be destroyed. */
int32_t sub3_batch_step(sub3_batch* batch, uint64_t max_steps, const int32_t* interrupt, sub3_progress* progress);

/* Writes the num_slots best hypotheses of an ended sentence and removes it; times and bytes are its share
 * (decoding/batch.h). */
int32_t sub3_batch_take(sub3_batch* batch, uint64_t id, sub3_result* result);

/* Removes a sentence, running or ended. */
int32_t sub3_batch_remove(sub3_batch* batch, uint64_t id);

/* Teacher forcing: writes logits[t * target_vocab_size ..] after the decoder has read target[0 .. t]. */
int32_t sub3_logits(const sub3_model* model, const int32_t* source, uint64_t source_length, const int32_t* target,
                    uint64_t target_length, float* logits, uint64_t num_logits);

/* Computes one product y[n, rows] = x[n, columns] W^T, for tests and benchmarks: by look-up tables (bcq_matmul.h), or
 * by the int8 GEMM (bcq_int8_matmul.h) if `int8` is not 0. Tensors are named "m.plane.1" .. and "m.scales.k", segments
 * "m". isa: NULL for the one in use. */
int32_t sub3_bcq_matmul(const char* isa, uint32_t int8, const sub3_tensor* tensors, uint64_t num_tensors,
                        const sub3_segment* segments, uint64_t num_segments, uint64_t rows, uint64_t columns,
                        const float* x, uint64_t n, float* y);
