package execution

import (
	"context"
	"fmt"
)

// messageHook fetches the program's message and refuses at once what this node does not offer.
type messageHook struct{ *Pool }

func (h messageHook) start(ctx context.Context, x *Execution) error {
	program, err := h.cfg.Network.Program(ctx, x.hash)
	if err != nil {
		return err
	}
	if program.Environment.TrustedExecution != nil {
		return fmt.Errorf("program %s: confidential execution is %w", x.hash, ErrUnsupported)
	}
	if program.Requirements != nil && len(program.Requirements.GPU) > 0 {
		return fmt.Errorf("program %s: a GPU is %w", x.hash, ErrUnsupported)
	}
	if isWasm(program) {
		if err := h.checkWasm(program); err != nil {
			return fmt.Errorf("program %s: %w", x.hash, err)
		}
	}
	x.program = program
	return nil
}

func (h messageHook) stop(context.Context, *Execution) {}
