/* Files of the computer that runs the image: by semihosting in an emulator, by <stdio.h> natively. */
#ifndef KD_EMULATE_IO_H
#define KD_EMULATE_IO_H

#include <stddef.h>

/* A handle of the file, or -1. */
int kd_io_open_to_read(const char *name);
int kd_io_open_to_write(const char *name);

/* 1 where all `bytes` were read or written, else 0. */
int kd_io_read(int file, void *to, size_t bytes);
int kd_io_write(int file, const void *from, size_t bytes);

void kd_io_close(int file);

#endif /* KD_EMULATE_IO_H */
