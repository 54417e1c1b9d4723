import gc, os, random, runpy, socket, ssl, sys, threading

# The interpreter may go on in copies. Each of them must draw random numbers of its own.
def reseed():
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    ssl.RAND_add(os.urandom(64), 64)

def renew(host):
    with host:
        for _ in host.makefile():
            gc.freeze() # a collection writes to all that it looks at, which would no longer be shared with the other copies
            reseed()
            host.sendall(b"\n")

reseed() # OpenSSL sets up its generator at the first use, which copies need not do again
host = socket.socket(socket.AF_UNIX)
host.connect(sys.argv.pop(1))
threading.Thread(target=renew, args=(host,), daemon=True).start()
runpy.run_path(sys.argv.pop(1), run_name="__main__")
