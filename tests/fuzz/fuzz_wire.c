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
	/* what the input opened and looked up is closed and forgotten, or a million inputs run out of fds */
	struct itable *t = w.f->inodes;
	for (uint32_t i = 0; i < t->htab.made; i++) {
		struct idobj *o = idtab_at(&t->htab, i);
		if (atomic_load(&o->gen) & 1)
			wire_release(&w, 1, idobj_id(o), false);
	}
	for (uint32_t i = 1; i < t->tab.made; i++) {
		struct idobj *o = idtab_at(&t->tab, i);
		if (atomic_load(&o->gen) & 1)
			wire_forget(&w, idobj_id(o), UINT64_MAX);
	}
	if (atomic_load(&t->handles_open))
		abort();
	return 0;
}
