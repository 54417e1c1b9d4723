package runner

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// program is a compiled module. It implements [http.Handler]: each request runs an instance from start to end.
type program struct {
	runtime   wazero.Runtime
	module    wazero.CompiledModule
	config    wazero.ModuleConfig // what all instances have in common
	memory    *memory
	memoryMiB int
	patience  time.Duration // how long an instance may compute without a sign of life
	logs      *logs
}

// maxModule bounds a module that comes in an archive, in bytes.
const maxModule = 64 << 20

// wasi is what a module may import: the functions of WASI preview 1.
const wasi = "wasi_snapshot_preview1"

// load reads, checks and compiles the module that the configuration names. Its errors are for the program's author.
func load(ctx context.Context, config wire.Config, memoryMiB int, cacheDir string, logs *logs) (*program, error) {
	if len(config.Archives) == 0 || len(config.Args) == 0 {
		return nil, errors.New("there is no module to run")
	}
	code, files, err := readModule(config.Archives[0], config.Args[0])
	if err != nil {
		return nil, err
	}
	for _, data := range config.Archives[1:] {
		archive, err := readArchive(data)
		if err != nil {
			return nil, err
		}
		content, err := zip.NewReader(archive, data.Size)
		if err != nil {
			return nil, fmt.Errorf("the data is not a valid zip file: %w", err)
		}
		files = files.WithFSMount(content, data.Dir)
	}
	settings := wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true)
	if cacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open the cache of compiled modules: %w", err)
		}
		settings = settings.WithCompilationCache(cache)
	}
	p := &program{
		runtime: wazero.NewRuntimeWithConfig(ctx, settings), memoryMiB: memoryMiB, logs: logs,
		patience: time.Duration(max(1, config.Seconds)) * time.Second,
	}
	if err := instantiateWASI(ctx, p.runtime); err != nil {
		return nil, fmt.Errorf("offer WASI: %w", err)
	}
	if p.module, err = p.runtime.CompileModule(ctx, mergeData(code)); err != nil {
		return nil, fmt.Errorf("the module cannot be used: %w", err)
	}
	least, err := check(p.module)
	if err != nil {
		return nil, err
	}
	limit := int64(memoryMiB) << 20
	if least > limit {
		return nil, fmt.Errorf("the module begins with %d MiB of memory, and the program has %d (resources.memory in its message)", least>>20, memoryMiB)
	}
	p.memory = newMemory(limit, least)
	p.config = wazero.NewModuleConfig().WithName("").WithArgs(config.Args...).WithFSConfig(files).
		WithSysWalltime().WithSysNanotime().WithRandSource(rand.Reader)
	for _, v := range config.Env {
		name, value, _ := strings.Cut(v, "=")
		p.config = p.config.WithEnv(name, value)
	}
	// Compiling needs several times what running does.
	debug.FreeOSMemory()
	return p, nil
}

// readModule returns the module's bytes, and the archive that it came in as the root of its file system.
func readModule(a wire.Archive, entrypoint string) ([]byte, wazero.FSConfig, error) {
	files := wazero.NewFSConfig()
	archive, err := readArchive(a)
	if err != nil {
		return nil, nil, err
	}
	var source io.Reader = archive
	if a.Encoding == "zip" {
		content, err := zip.NewReader(archive, a.Size)
		if err != nil {
			return nil, nil, fmt.Errorf("the archive is not a valid zip file: %w", err)
		}
		if len(content.File) > a.MaxFiles {
			return nil, nil, fmt.Errorf("the archive has %d entries, at most %d are allowed", len(content.File), a.MaxFiles)
		}
		name := path.Clean(strings.TrimPrefix(entrypoint, "/"))
		file, err := content.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("the archive has no module %q (code.entrypoint in the message): %w", name, err)
		}
		defer file.Close()
		source, files = file, files.WithFSMount(content, "/")
	}
	code, err := io.ReadAll(io.LimitReader(source, maxModule+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the module: %w", err)
	}
	if len(code) > maxModule {
		return nil, nil, fmt.Errorf("the module has more than %d MiB", maxModule>>20)
	}
	return code, files, nil
}

// check refuses modules that could never answer, and returns how much memory an instance has from the start.
func check(m wazero.CompiledModule) (least int64, err error) {
	if m.ExportedFunctions()["_start"] == nil {
		return 0, errors.New("the module has no function _start: build it as a command (GOOS=wasip1 GOARCH=wasm; wasm32-wasip1), not as a library")
	}
	for _, f := range m.ImportedFunctions() {
		if module, name, _ := f.Import(); module != wasi {
			return 0, fmt.Errorf("the module imports %s.%s, and only the functions of %s are there: build it for WASI preview 1", module, name, wasi)
		}
	}
	for _, memory := range m.ExportedMemories() {
		least = max(least, int64(memory.Min())<<16) // pages of 64 KiB
	}
	return least, nil
}
