/* The parts of the ring transport that need no kernel: lists of CPUs, and what to do with a command that came back with an error. */
#include "fs/transport_priv.h"
#include "tap.h"

static void cpus(void)
{
	uint8_t b[4];
	T_EQ(ring_cpus("0-1\n", b, 32), 2, "0-1: highest + 1");
	T_EQ(b[0], 3, "0-1: bits");
	T_EQ(ring_cpus("0-3,8,10-11\n", b, 32), 12, "0-3,8,10-11: highest + 1");
	T_EQ(b[0] | b[1] << 8, 0x0d0f, "0-3,8,10-11: bits");
	T_EQ(ring_cpus("5", b, 32), 6, "5: highest + 1");
	T_EQ(b[0], 0x20, "5: bits");
	T_EQ(ring_cpus("0-99999999999\n", b, 32), 32, "more than fit: all that fit");
	T_EQ(b[3], 0xff, "more than fit: bits");
	T_EQ(ring_cpus("", b, 32), 0, "an empty list");
	T_EQ(ring_cpus("x", b, 32), 0, "no list");
	T_EQ(ring_cpus("7-2", b, 32), 0, "a range the wrong way round");
}

static void steps(void)
{
	static const struct {
		int res;
		bool commit;
		unsigned tries;
		enum ring_next want;
		const char *what;
	} v[] = {
	        {-EINTR, true, 0, RN_again, "a reply interrupted is sent again"},
	        {-EAGAIN, true, 63, RN_again, "a reply refused for now is sent again"},
	        {-EAGAIN, false, 0, RN_again, "a registration before INIT is through is sent again"},
	        {-EAGAIN, true, 64, RN_dead, "but not for ever"},
	        {-EINTR, false, 64, RN_dead, "a registration neither"},
	        {-ENOTCONN, true, 0, RN_dead, "unmounted"},
	        {-ENOTCONN, false, 0, RN_dead, "unmounted while registering"},
	        {-ECANCELED, true, 0, RN_dead, "the thread is ending"},
	        {-ECONNABORTED, true, 0, RN_dead, "aborted"},
	        {-ENOENT, true, 0, RN_register, "a reply to a request taken back: the entry is registered anew"},
	        {-EINVAL, true, 3, RN_register, "the same for one not understood"},
	        {-ENOENT, true, 64, RN_dead, "and that not for ever either"},
	        {-EINVAL, false, 0, RN_dead, "a registration refused"},
	        {-EOPNOTSUPP, false, 0, RN_dead, "switched off"},
	};
	for (size_t i = 0; i < sizeof v / sizeof *v; i++)
		T_EQ(ring_next_step(v[i].res, v[i].commit, v[i].tries), v[i].want, v[i].what);
}

int main(void)
{
	cpus();
	steps();
	return tap_done();
}
