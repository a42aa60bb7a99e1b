// Preloaded into a server: its clock of the day is as many seconds off as the file MOVED_CLOCK says, a double in memory
// that another process writes. The monotonic clock is not touched, and no sleep is, as libfaketime's are.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile double* moved;

__attribute__((constructor)) static void Open(void) {
  const char* path = getenv("MOVED_CLOCK");
  const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* mapped = mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) moved = mapped;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  const int status = (int)syscall(SYS_clock_gettime, clock, now);
  if (status == 0 && clock == CLOCK_REALTIME && moved != NULL) now->tv_sec += (time_t)*moved;
  return status;
}

time_t time(time_t* told) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (told != NULL) *told = now.tv_sec;
  return now.tv_sec;
}
