/* model_store.h - where models live on this machine: a folder of folders, one a model, and the name of the one in use.
 *
 *     HOME/NAME/{config.json, tokenizer.json, model.safetensors, …}   as the model came, only the files that are used
 *     HOME/NAME/vexfs.json                                            source, date, fingerprint, dim, each file's length and XXH3-128
 *     HOME/default                                                    the name of the model in use; no file: none
 *
 * A model appears whole or not at all: files are copied beside, checked by encoding a text, and renamed. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"

#define MODEL_NAME_MAX 64u

/* model_home - where models are: root has /var/lib/vexfs/models, others $XDG_DATA_HOME/vexfs/models or ~/.local/share/vexfs/models.
 * @xdg,@home  the environment's XDG_DATA_HOME and HOME; may be NULL.  Return 0; -ENOENT: neither is set; -ENAMETOOLONG. */
int model_home(uint32_t uid, const char *xdg, const char *home, char *ret, size_t cap);
bool model_name_ok(const char *name); /* [A-Za-z0-9._-]{1,64}, not beginning with '.' */
/* model_path - the folder of a name, or of what is a path already (it holds a '/'). 0; -ENAMETOOLONG; -EINVAL: no name. */
int model_path(const char *home, const char *name_or_path, char *ret, size_t cap);
/* model_add - copy the model in @folder to the store under @name.
 * @source  where it is from, recorded as it is
 * Return: 0; -EEXIST; what embed_open and embed_probe return for a folder that is no model that works; the system's own.
 * Bounds: nothing of a failed try is left. */
int model_add(struct os *os, const char *home, const char *name, const char *folder, const char *source,
        struct vx_errinfo *reterr);
/* model_fetch - a model's files from BASE/config.json, BASE/tokenizer.json, … into an empty folder.  https or a server on this machine.
 * @tell  called with each file's name and bytes so far; may be NULL. != 0 ends it with -VX_ERR_cancelled */
int model_fetch(struct os *os, const char *base_url, const char *folder,
        int (*tell)(void *u, const char *file, uint64_t bytes), void *u, struct vx_errinfo *reterr);
/* the model in use: -ENOENT: none. model_use checks that it is there; name NULL: use none. */
int model_default(struct os *os, const char *home, char ret[MODEL_NAME_MAX + 1]);
int model_use(struct os *os, const char *home, const char *name);
/* model_each - the names, in no order; each() != 0 ends it and is returned. No folder: none. */
int model_each(struct os *os, const char *home, int (*each)(void *u, const char *name), void *u);
/* files a model may consist of; NULL ends the list */
extern const char *const model_files[];
