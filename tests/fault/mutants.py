"""Seeded durability bugs: each is one change of the store's sources that loses or mixes acknowledged data when the power goes.

A mutant names the text it replaces, which must occur exactly once in the file, so a change of the sources that would make a mutant
void is an error here and not a silent pass.  They are built beside the tree, never in it.
"""
import collections
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
Mutant = collections.namedtuple("Mutant", "name why edits")


def m(name, why, *edits):
    return Mutant(name, why, edits)


THREAD, OPS, SLOTS, CATALOG = "src/store/store_thread.c", "src/store/store_ops.c", "src/store/slots.c", "src/store/catalog.c"
MUTANTS = [
    m("slots_not_synced", "COMMIT without fdatasync of the slots: rows of bytes that never arrived",
      (SLOTS, "VX_TRY(os_fdatasync(st->os, g->fd));", ";")),
    m("only_first_segment_synced", "a group that spans two slot files syncs one of them",
      (SLOTS, "if (g->dirty) {", "if (g->dirty && s == 0) {")),
    m("sqlite_sync_off", "the catalog's log is never flushed",
      (CATALOG, "PRAGMA synchronous=FULL", "PRAGMA synchronous=OFF")),
    m("sqlite_sync_normal", "the catalog's log is flushed at checkpoints only",
      (CATALOG, "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL")),
    m("acknowledged_before_commit", "durable() is called when the slots are synced, COMMIT follows",
      (THREAD, "\t\tif (!rc)\n\t\t\trc = cat_commit(&st->cat);\n\t\tif (rc < 0) {", "\t\tif (!rc)\n\t\t\tgroup_answer(st, 0);\n\t\tif (!rc)\n\t\t\trc = cat_commit(&st->cat);\n\t\tif (rc < 0) {")),
    m("acknowledged_when_visible", "a group answers before anything of it is flushed",
      (THREAD, "\tuint32_t n = st->group_n;\n\tif (st->in_tx) {", "\tuint32_t n = st->group_n;\n\tgroup_answer(st, 0);\n\tif (st->in_tx) {")),
    m("commit_before_slots", "COMMIT first, fdatasync of the slots after it",
      (THREAD, "int rc = atomic_load(&st->shm_bad) ? -EIO : sync_slots(st);", "int rc = 0;"),
      (THREAD, "\t\tflushed(st, 1);\n\t\tst->in_tx = false;", "\t\tflushed(st, 1);\n\t\t(void)sync_slots(st);\n\t\tst->in_tx = false;")),
    m("freed_row_reused_at_once", "a slot is written again before the commit that frees it",
      (OPS, "\tst->pend_free[st->pend_free_n++] = (struct pend_free){c, op->old_row};", "\t(void)row_free_add(c, op->old_row);")),
    m("replaced_in_place", "a new vector is written over the slot of the old one",
      (OPS, "\tVX_TRY(row_alloc(c, &v.row));", "\tif (op->old_row != UINT32_MAX)\n\t\tv.row = op->old_row;\n\telse\n\t\tVX_TRY(row_alloc(c, &v.row));"),
      (OPS, "\tif (op->old_row != UINT32_MAX)\n\t\tVX_TRY(store_vec_dead(st, op->cid, op->old_row));\n", ""),
      (OPS, "return -VX_ERR_bad_value; /* live: its slot is the only copy */", "return 0;")),
    m("dropped_files_go_first", "slot files of a dropped collection are unlinked before the commit that drops it",
      (OPS, "\tst->state.dead_rows -= dead < st->state.dead_rows ? dead : st->state.dead_rows;\n\tc->dying = true;",
       "\tst->state.dead_rows -= dead < st->state.dead_rows ? dead : st->state.dead_rows;\n\t(void)coll_dir_clear(st, atomic_load(&c->dirfd), false);\n\t(void)os_fsync(st->os, atomic_load(&c->dirfd));\n\tc->dying = true;")),
    m("old_graph_goes_first", "the file of an older graph is unlinked before the commit that forgets it",
      (OPS, "\t\tst->pend_unlink_n += u->name[0] && strcmp(u->name, op->name);",
       "\t\t(void)os_unlinkat(st->os, atomic_load(&c->dirfd), u->name, 0);\n\t\t(void)os_fsync(st->os, atomic_load(&c->dirfd));")),
    m("replacement_in_two_commits", "the old vector dies in a commit of its own",
      (OPS, "\t/* one live vector an owner, whatever", "\tif (op->old_row != UINT32_MAX) {\n\t\t(void)cat_commit(&st->cat);\n\t\t(void)cat_begin(&st->cat);\n\t}\n\t/* one live vector an owner, whatever")),
    m("log_unlinked_at_open", "what a crash left in the catalog's log is thrown away",
      ("src/store/store.c", "\tint flags = st->read_only ? SQLITE_OPEN_READONLY", "\t(void)os_unlinkat(st->os, st->dirfd, \"catalog.db-wal\", 0);\n\tint flags = st->read_only ? SQLITE_OPEN_READONLY")),
    m("text_done_in_two_commits", "the chunks of the older text go in a commit before the new text is named",
      (OPS, "\t\to.text_ver = op->text_ver;", "\t\t(void)cat_commit(&st->cat);\n\t\t(void)cat_begin(&st->cat);\n\t\to.text_ver = op->text_ver;")),
    m("slot_without_its_number", "a slot keeps the number of the write before: a lost write looks like a good one",
      (SLOTS, "VX_TRY(os_fdatasync(st->os, g->fd));", ";"),
      (SLOTS, "\treturn vid && crc32c(0, slot, room + 8u) == le32_get(slot + room + 8u);", "\treturn true;")),
]


def build(mutant, out):
    """compile the fault client of a mutant; its path"""
    shutil.copytree(ROOT / "src", os.path.join(out, "src"))
    shutil.copytree(ROOT / "include", os.path.join(out, "include"))
    for name, old, new in mutant.edits:
        p = pathlib.Path(out, name)
        text = p.read_text()
        if text.count(old) != 1:
            raise SystemExit(f"mutant {mutant.name}: its text occurs {text.count(old)} times in {name}, not once: bring it up to date")
        p.write_text(text.replace(old, new))
    src = sorted(str(f) for d in ("base", "store") for f in pathlib.Path(out, "src", d).glob("*.c"))
    exe = os.path.join(out, "fault_client")
    cc = os.environ.get("CC", "cc").split()
    objs = []
    for f in src + [str(ROOT / "tests/fault/fault_client.c")]:
        o = os.path.join(out, os.path.basename(f) + ".o")
        subprocess.run(cc + ["-std=gnu17", "-O1", "-g", "-w", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-fno-strict-aliasing", f"-I{out}/src",
                             f"-I{out}/include", "-c", f, "-o", o], check=True)
        objs.append(o)
    subprocess.run(cc + ["-o", exe] + objs + ["-lsqlite3", "-lpthread", "-lm"], check=True)
    return exe
