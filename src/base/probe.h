/* probe.h - static probes for tracers (USDT, provider "vexfs"): a nop each until somebody traces.  Compiled in where <sys/sdt.h> is
 * (Debian: systemtap-sdt-dev), see examples/vexfs.bt.
 *
 *   op      name, nanoseconds, bytes      each operation perf counts, when it has ended
 *   search  k, distances, hops            a walk of the graph or a scan
 *   commit  operations, nanoseconds       a group of changes is on disk */
#pragma once
#ifdef VEXFS_SDT
#include <sys/sdt.h>
#define PROBE2(name, a, b)    DTRACE_PROBE2(vexfs, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(vexfs, name, a, b, c)
#else
#define PROBE2(name, a, b)    ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif
