// Threads that help whoever computes alone: a loop's parts go to the caller and to the helpers that are free.
//
// Several threads may compute at a time, each for its own batch (Caller). One that is alone, and has been for a
// moment, has its loops shared out; else each works by itself and the helpers sleep: between the requests of several
// clients there is other work for their cores. A caller never waits for a helper to begin: parts are claimed
// one by one, and it takes those that nobody has. Helpers look for parts for some microseconds before they sleep, so
// that a step's many short loops find them awake, and are woken when a caller begins.

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
  ThreadPool() = default;  // of one thread: every loop is the caller's
  ~ThreadPool() { Resize(1); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The one of this process.
  static ThreadPool& OfProcess();

  // Threads that compute in all, callers included, from 1 on. Loops that run go on.
  void Resize(size_t threads);
  size_t threads() const { return threads_.load(std::memory_order_relaxed); }

  static constexpr size_t kMaxWidth = 4;  // a sentence's loops are short: a matrix of 256 rows has four tiles

  // The calling thread computes while this lives.
  class Caller {
   public:
    explicit Caller(ThreadPool* pool) : pool_(pool) { pool_->Enter(); }
    ~Caller() { pool_->callers_.fetch_sub(1, std::memory_order_relaxed); }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;

   private:
    ThreadPool* pool_;
  };

  // Into how many parts a loop is best cut at the moment, and at any time; any number is right.
  size_t Width() const;
  size_t MaxWidth() const { return std::min(threads(), kMaxWidth); }

  // body(part) of each part from 0 on; it must not throw. Returns when all are done.
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
  void AwaitHelpers(uint32_t helped, int64_t begun);
  void Help();

  std::atomic<size_t> threads_{1}, callers_{0};
  std::atomic<int64_t> alone_until_{0};  // nanoseconds of the clock: other callers, or a stalled helper

  // The loop that is shared out. A ticket is its number << 32 | the next part to take; between two loops the part is
  // kClosed. The other fields change only then, so a part that is claimed by exchanging the ticket that was read before
  // them belongs to the loop that they describe.
  static constexpr uint32_t kClosed = ~uint32_t{0};
  alignas(64) std::atomic<uint64_t> ticket_{kClosed};
  std::atomic<Function> function_{nullptr};
  std::atomic<const void*> body_{nullptr};
  std::atomic<uint32_t> parts_{0};
  std::atomic<bool> shared_{false};            // a caller has its loop here
  alignas(64) std::atomic<uint32_t> done_{0};  // parts that helpers have finished

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
