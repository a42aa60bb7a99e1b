// Work-sharing pool: splits a loop between the calling thread and idle helpers while only one caller is active.
//
// Several threads may compute at a time, each for its own batch (Caller). The loops of a caller that has been the only
// one for a moment are shared; otherwise each caller works by itself and the helpers sleep, because between the
// requests of several clients their cores have other work. A caller never waits for a helper to start: parts are
// claimed one by one, and the caller runs those that no helper claimed. Helpers spin for some microseconds before they
// sleep, so that the many short loops of a step find them awake; a new caller wakes them.

#ifndef SUB3_KERNELS_THREAD_POOL_H_
#define SUB3_KERNELS_THREAD_POOL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace sub3 {

class ThreadPool {
 public:
  ThreadPool() = default;  // one thread: every loop runs in its caller
  ~ThreadPool() { Resize(1); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The pool of this process.
  static ThreadPool& OfProcess();

  // Sets the number of computing threads, callers included, at least 1. Running loops are not interrupted.
  void Resize(size_t threads);
  size_t threads() const { return threads_.load(std::memory_order_relaxed); }

  static constexpr size_t kMaxWidth = 4;  // the loops of a sentence are short: a matrix of 256 rows has four tiles

  // Marks the calling thread as computing while it lives.
  class Caller {
   public:
    explicit Caller(ThreadPool* pool) : pool_(pool) { pool_->Enter(); }
    ~Caller() { pool_->callers_.fetch_sub(1, std::memory_order_relaxed); }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

   private:
    ThreadPool* pool_;
  };

  // The best number of parts of a loop at the moment, and the most it can be. Any number gives the same result.
  size_t Width() const;
  size_t MaxWidth() const { return std::min(threads(), kMaxWidth); }

  // Calls body(part) for part = 0 .. parts - 1 and returns when all calls have. body must not throw.
  template <typename Body>
  void ForParts(size_t parts, const Body& body) {
    Run(parts, [](const void* of, size_t part) { (*static_cast<const Body*>(of))(part); }, &body);
  }

 private:
  using Function = void (*)(const void* body, size_t part);

  void Enter();
  void Wake();
  void Run(size_t parts, Function function, const void* body);
  bool TakePart();
  void AwaitHelpers(uint32_t helped, int64_t start);
  void Help();

  std::atomic<size_t> threads_{1}, callers_{0};
  std::atomic<int64_t> solo_until_{0};  // clock in nanoseconds; set when two callers met or a helper stalled

  // The shared loop. A ticket is the loop's number << 32 | the next part to claim; between two loops the part is
  // kClosed. The other fields change only then. A thread reads the ticket, then these fields, then claims the part by
  // exchanging the ticket: the part belongs to the loop that the fields describe.
  static constexpr uint32_t kClosed = ~uint32_t{0};
  alignas(64) std::atomic<uint64_t> ticket_{kClosed};
  std::atomic<Function> function_{nullptr};
  std::atomic<const void*> body_{nullptr};
  std::atomic<uint32_t> parts_{0};
  std::atomic<bool> shared_{false};            // whether a caller has its loop here
  alignas(64) std::atomic<uint32_t> done_{0};  // parts that helpers finished

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint32_t> asleep_{0};
  uint64_t wakes_ = 0;
  bool stop_ = false;
  std::mutex resize_;
  std::vector<std::thread> helpers_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_THREAD_POOL_H_
