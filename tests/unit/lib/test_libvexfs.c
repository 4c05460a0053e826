/* test_libvexfs - the public library as its users have it: only the header and the shared object.  Without an argument a directory is
 * served in this process; with a mount's path the same calls go through it. */
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vexfs.h"

static struct vexfs *v;

static void put_file(const char *dir, const char *name, const char *text)
{
	char p[512];
	snprintf(p, sizeof p, "%s/%s", dir, name);
	FILE *f = fopen(p, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		abort();
}

static void points(void)
{
	float a[4] = {1, 0.1f, 1e-20f, -3.25f}, b[4] = {0, 1, 0, 0}, out[8];
	struct vexfs_point p[3] = {{.path = "a.txt", .vector = a, .dim = 4, .payload = "{\"n\": [1, {\"x\": \"y\"}]}"},
	        {.path = "b.txt", .vector = b, .dim = 4}, {.path = "sub/c.txt", .vector = a, .dim = 4}};
	T_EQ(vexfs_collection_create(v, "t", 4, 0), 0, "collection_create");
	T_EQ(vexfs_collection_create(v, "t", 4, 0), -EEXIST, "twice");
	T_OK(strstr(vexfs_error(v), "exists"), "with a sentence: %s", vexfs_error(v));
	T_EQ(vexfs_put(v, "t", p, 3, VEXFS_PUT_DURABLE), 0, "three files");
	T_EQ(vexfs_get(v, "t", "a.txt", 0, out, 8), 4, "get gives the dimension");
	T_OK(!memcmp(out, a, sizeof a), "and the same bits");
	T_EQ(vexfs_get(v, "t", "none.txt", 0, out, 8), -ENOENT, "of no file");
	T_EQ(vexfs_get(v, "nope", "a.txt", 0, out, 8), -ENOENT, "of no collection");
	T_EQ(vexfs_put(v, "t", &(struct vexfs_point){.path = "a.txt", .vector = a, .dim = 3}, 1, 0), -EINVAL,
	        "a wrong length");
	T_OK(*vexfs_error(v), "said: %s", vexfs_error(v));
	T_EQ(vexfs_put(v, "t", &(struct vexfs_point){.path = "../x", .vector = a, .dim = 4}, 1, 0), -EXDEV,
	        "a path outside");
	struct vexfs_point fp[100];
	float w[100][4];
	memset(fp, 0, sizeof fp);
	for (unsigned i = 0; i < 100; i++) {
		w[i][0] = 100 + (float)i;
		w[i][1] = w[i][2] = w[i][3] = 0;
		fp[i] = (struct vexfs_point){.id = i, .vector = w[i], .dim = 4};
	}
	T_EQ(vexfs_put(v, "t", fp, 100, 0), 0, "a hundred free points");
	T_EQ(vexfs_get(v, "t", NULL, 42, out, 8), 4, "one of them");
	T_OK(out[0] == 142, "is itself");
	T_EQ(vexfs_del(v, "t", NULL, 42), 0, "deleted");
	T_EQ(vexfs_get(v, "t", NULL, 42, out, 8), -ENODATA, "is gone");
	T_EQ(vexfs_del(v, "t", NULL, 42), -ENODATA, "deleted twice");
}

static void searches(void)
{
	float q[4] = {1, 0.1f, 0, -3.25f};
	struct vexfs_matches *m;
	T_EQ(vexfs_search(v,
	             &(struct vexfs_query){
	                     .collection = "t", .vector = q, .dim = 4, .k = 3, .exact = 1, .with_payload = 1},
	             &m),
	        3, "search by vector");
	T_OK(m->n == 3 && m->match[0].path && !strcmp(m->match[0].path, "a.txt") &&
	                !strcmp(m->match[1].path, "sub/c.txt"),
	        "the nearest two, by path when equal");
	T_OK(m->match[0].payload && strstr(m->match[0].payload, "\"y\"") && !m->match[1].payload, "with its payload");
	T_OK(m->match[0].distance < 1e-6f && m->match[0].score > 0.99f && !strcmp(m->match[0].state, "fresh"),
	        "distance, score, state");
	vexfs_matches_free(m);
	T_EQ(vexfs_search(v, &(struct vexfs_query){.collection = "t", .like = "a.txt", .scope = "sub"}, &m), 1,
	        "like a file, below sub");
	T_STR(m->match[0].path, "sub/c.txt", "is found");
	vexfs_matches_free(m);
	T_EQ(vexfs_search(v,
	             &(struct vexfs_query){
	                     .collection = "t", .vector = q, .dim = 4, .filter = "payload.n contains 1", .k = 9},
	             &m),
	        1, "filtered");
	vexfs_matches_free(m);
	T_EQ(vexfs_search(v,
	             &(struct vexfs_query){.collection = "t", .vector = q, .dim = 4, .filter = "size >", .k = 9}, &m),
	        -EINVAL, "a filter that is none");
	T_EQ(vexfs_search(v, &(struct vexfs_query){.collection = "t", .k = 9}, &m), -EINVAL, "nothing to search by");
	T_EQ(vexfs_wait(v), 0, "wait");
	T_EQ(vexfs_search(v, &(struct vexfs_query){.text = "zebra", .wait = 1}, &m), 1, "search by words");
	T_OK(m->n == 1 && !strcmp(m->match[0].path, "b.txt") && m->complete && m->match[0].snippet,
	        "finds the file, is complete");
	vexfs_matches_free(m);
}

static void raw(void)
{
	void *p;
	size_t n;
	T_EQ(vexfs_request(v, "{\"verb\":\"collection_info\",\"name\":\"t\"}", 37, &p, &n), 0, "any verb");
	T_OK(strstr(p, "\"metric\":\"l2\"") && n == strlen(p), "answered: %.60s", (char *)p);
	vexfs_free(p);
	T_EQ(vexfs_request(v, "{", 1, &p, &n), 0, "a mistake");
	T_OK(strstr(p, "json_syntax"), "is an answer");
	vexfs_free(p);
	vexfs_free(NULL);
	vexfs_matches_free(NULL);
	vexfs_close(NULL);
}

static void *asker(void *u)
{
	long bad = 0;
	for (int i = 0; i < 50; i++) {
		float q[4] = {100 + (float)(intptr_t)u, 0, 0, 0};
		struct vexfs_matches *m;
		if (vexfs_search(v, &(struct vexfs_query){.collection = "t", .vector = q, .dim = 4, .k = 1, .exact = 1},
		            &m) != 1) {
			bad++;
			continue;
		}
		bad += m->match[0].path || m->match[0].id != (uint64_t)(intptr_t)u;
		vexfs_matches_free(m);
	}
	return (void *)bad;
}

static void threads(void)
{
	pthread_t t[4];
	long bad = 0;
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, asker, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	T_EQ(bad, 0, "four threads on one handle, 50 searches each");
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/vexfs-lib-XXXXXX", cmd[128];
	if (argc > 2) {
		struct vexfs *busy;
		return vexfs_open(argv[2], 0, &busy) == -EBUSY ? 0 : 1;
	}
	const char *at = argc > 1 ? argv[1] : mkdtemp(dir);
	struct vexfs *w;
	T_OK(vexfs_version()[0], "version %s", vexfs_version());
	snprintf(cmd, sizeof cmd, "mkdir -p %.80s/sub", at);
	if (system(cmd))
		return 1;
	put_file(at, "a.txt", "alpha\n");
	put_file(at, "b.txt", "a zebra\n");
	put_file(at, "sub/c.txt", "gamma\n");
	T_EQ(vexfs_open("/no/such/dir", 0, &w), -ENOENT, "open of no directory");
	T_EQ(vexfs_connect("/tmp", &w), -ENOTTY, "connect to no mount");
	if (argc > 1) {
		T_EQ(vexfs_connect(at, &v), 0, "connect");
	} else {
		T_EQ(vexfs_open(at, 0, &v), 0, "open");
		pid_t pid =
		        fork(); /* and a program of its own: a child of many threads may find a lock of malloc's held for ever */
		if (!pid) {
			execl("/proc/self/exe", argv[0], "--busy", at, (char *)NULL);
			_exit(2);
		}
		int st = -1;
		waitpid(pid, &st, 0);
		T_EQ(st, 0, "another process is told that it is busy");
	}
	if (!v)
		return tap_done();
	points();
	searches();
	raw();
	threads();
	vexfs_close(v);
	if (argc == 1) {
		float out[4];
		T_EQ(vexfs_open(at, VEXFS_OPEN_READ_ONLY, &v), 0, "open again, to read");
		T_EQ(vexfs_get(v, "t", "a.txt", 0, out, 4), 4, "everything is there");
		T_EQ(vexfs_put(v, "t", &(struct vexfs_point){.id = 7, .vector = out, .dim = 4}, 1, 0), -EROFS,
		        "nothing can be written");
		vexfs_close(v);
		snprintf(cmd, sizeof cmd, "rm -rf %.80s", at);
		if (system(cmd))
			return 1;
	}
	return tap_done();
}
