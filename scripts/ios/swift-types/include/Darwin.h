// The C library, as much of it as is used.
#pragma once

#define STDOUT_FILENO 1
#define STDERR_FILENO 2

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ssize_t;

int pipe(int *fds);
int dup(int fd);
int dup2(int from, int to);
int close(int fd);
ssize_t read(int fd, void *buffer, size_t count);
ssize_t write(int fd, const void *buffer, size_t count);

char *strdup(const char *text);
size_t strnlen(const char *text, size_t longest);
void free(void *memory);
