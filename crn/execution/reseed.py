import os, random, runpy, socket, sys, threading

# The interpreter may go on in copies. Each of them must draw random numbers of its own.
def renew(host):
    with host:
        for _ in host.makefile():
            random.seed()
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed()
            if "ssl" in sys.modules:
                sys.modules["ssl"].RAND_add(os.urandom(64), 64)
            host.sendall(b"\n")

host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv.pop(1))
threading.Thread(target=renew, args=(host,), daemon=True).start()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
