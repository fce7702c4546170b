#include <stdio.h>

#include "io.h"

static FILE *files[8];

static int open_as(const char *name, const char *mode) {
  for (int i = 0; i < 8; i++) {
    if (files[i] == NULL) {
      files[i] = fopen(name, mode);
      return files[i] == NULL ? -1 : i;
    }
  }
  return -1;
}

int kd_io_open_to_read(const char *name) { return open_as(name, "rb"); }

int kd_io_open_to_write(const char *name) { return open_as(name, "wb"); }

int kd_io_read(int file, void *to, size_t bytes) { return fread(to, 1, bytes, files[file]) == bytes; }

int kd_io_write(int file, const void *from, size_t bytes) { return fwrite(from, 1, bytes, files[file]) == bytes; }

void kd_io_close(int file) {
  (void)fclose(files[file]);
  files[file] = NULL;
}
