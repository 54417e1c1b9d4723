package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// advice says what a user can do about a message that was rejected (ccn-core §2.6).
func advice(code message.ErrorCode) string {
	switch code {
	case message.ErrInternal:
		return "The node failed, not the message: send it again later, or to another node with --api."
	case message.ErrInvalidFormat:
		return "The content is not in the form that its type asks for; the details name the member."
	case message.ErrInvalidSignature:
		return "The signature is not of the sender: check which account signs with: aleph account show"
	case message.ErrPermissionDenied:
		return "The account may not write for this owner: the owner lets it with: aleph authorization add ADDRESS"
	case message.ErrContentUnavailable, message.ErrFileUnavailable:
		return "The node could not fetch the bytes: upload them to it with: aleph file upload"
	case message.ErrAmendNoTarget:
		return "Say which post is amended: aleph post amend HASH"
	case message.ErrAmendTargetNotFound, message.ErrStoreRefNotFound, message.ErrForgetNotFound:
		return "What it refers to is not known to the node: check the hash with: aleph message get HASH"
	case message.ErrAmendAmend:
		return "Amend the original post, not one of its amendments."
	case message.ErrStoreUpdateUpdate:
		return "Refer to the first version of the file, not to a later one."
	case message.ErrPaymentMethod:
		return "This network takes credits only: pay with --payment credit"
	case message.ErrVMRefNotFound, message.ErrVMVolumeNotFound:
		return "An image, runtime or volume is not stored on the network: upload it with: aleph file upload"
	case message.ErrVMAmendNotAllowed:
		return "It was made without leave to be changed: make a new one."
	case message.ErrVMUpdateUpdate:
		return "Change the first version, not a later one."
	case message.ErrVMVolumeTooSmall:
		return "Ask for a disk at least as large as the image it starts from: --disk"
	case message.ErrForgetNoTarget:
		return "Name at least one message to forget."
	case message.ErrForgetForget:
		return "What is forgotten stays so; a FORGET cannot be taken back."
	case message.ErrForgetNotAllowed:
		return "Something that runs uses it: delete that program or instance first."
	case message.ErrForgottenDuplicate:
		return "The same message was forgotten before: make a new one, its time makes it another."
	}
	return ""
}

// rejection says in words what is in a rejection, without the JSON of its details where those are texts.
func rejection(r *client.RejectedError) string {
	var details struct{ Errors []string }
	if json.Unmarshal(r.Details, &details) != nil || len(details.Errors) == 0 {
		return r.Error()
	}
	return fmt.Sprintf("message %s was rejected: %s (code %d): %s", r.Hash, r.Code, int(r.Code), strings.Join(details.Errors, "; "))
}

func fundsAdvice(short *client.InsufficientFundsError) string {
	who := short.Address
	if who == "" {
		who = "the account"
	}
	if short.Unit == "credits" {
		return fmt.Sprintf("Buy credits for %s, or ask for less. What it has: aleph credit show %s", who, short.Address)
	}
	return fmt.Sprintf("Send ALEPH to %s, delete what is not needed, or ask for less. What it has: aleph account balance %s", who, short.Address)
}
