/* stack.h - paint on stacks: what thread.c (making them) and stack.c (measuring them) share. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define STACK_SANITIZED 1
#endif
#endif
#ifndef STACK_SANITIZED
#define STACK_SANITIZED 0
#endif

#define STACK_PAINT 0xa5c3d2e1f0b49687u /* no address, no small number, no text */

struct thread;
/* thread_self(), without the call; the model spares a call of the linker's for each reading, and what is saved around that */
extern _Thread_local struct thread *stack_thread __attribute__((tls_model("initial-exec")));
extern const uint64_t *const stack_canary_none; /* paint: the canaries of a thread that has no marks yet */

size_t stack_page(void); /* bytes of a page */
void stack_fill(uint8_t *low, size_t n); /* paints; 8-aligned, multiples of 8 */
