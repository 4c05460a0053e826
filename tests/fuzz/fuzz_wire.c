/* fuzz_wire.c - libFuzzer on raw FUSE messages, no mount.  Build: clang -fsanitize=fuzzer,address,undefined (see docs/CONFORMANCE.md).
 * One session a process; the temporary directory is emptied by the run's end. */
#include "../unit/fs/wire_fuzz.h"

static struct wire w;
static char dir[] = "/tmp/vexfs-fuzz-XXXXXX";

static void clean(void)
{
	char cmd[100];
	snprintf(cmd, sizeof cmd, "chmod -R u+rwx %s; rm -rf %s", dir, dir);
	if (system(cmd))
		perror(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (!mkdtemp(dir) || wire_open(&w, dir, NULL))
		abort();
	atexit(clean);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static bool limited;
	struct fuzz_in in = {p, n};
	struct fuzz_state s = {0};
	if (!limited) { /* libFuzzer takes SIGXFSZ for a finding; to us it is the limit at work */
		fuzz_limits();
		limited = true;
	}
	while (in.n)
		if (!fuzz_step(&w, &s, &in))
			abort();
	for (int i = 0; i < FUZZ_KEEP; i++) { /* handles don't pile up over millions of runs */
		if (s.fh[i])
			wire_release(&w, 1, s.fh[i], false);
		if (s.node[i] && !fs_is_virt(s.node[i]))
			wire_forget(&w, s.node[i], UINT64_MAX);
	}
	return 0;
}
