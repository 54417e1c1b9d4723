package wallet

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// The two examples of the Web3 Secret Storage definition.
const (
	exampleSecret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
	examplePBKDF2 = `{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
"kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}`
	exampleScrypt = `{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
"ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
"kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
"mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}`
)

func TestKeystoresOfOtherWalletsAreRead(t *testing.T) {
	for name, raw := range map[string]string{"pbkdf2": examplePBKDF2, "scrypt": exampleScrypt} {
		key, err := Decrypt([]byte(raw), "testpassword", "")
		if err != nil || hex.EncodeToString(key.Secret()) != exampleSecret {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeystoresReadBackWithTheirPasswordOnly(t *testing.T) {
	for _, chain := range []message.Chain{message.ChainETH, message.ChainBASE, message.ChainSOL, message.ChainTEZOS, message.ChainNULS2} {
		key := mustKey(t, chain)
		raw, err := encrypt(key, "pass", 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), key.Text()) {
			t.Errorf("%s: the key is in the file", chain)
		}
		if back, err := Decrypt(raw, "pass", ""); err != nil || back.Text() != key.Text() || back.Chain() != chain {
			t.Errorf("%s: %v, %v", chain, back, err)
		}
		if _, err := Decrypt(raw, "Pass", ""); !errors.Is(err, ErrPassword) {
			t.Errorf("%s: wrong password: %v", chain, err)
		}
	}
}

func TestDamagedKeystoresAreRefused(t *testing.T) {
	sealed, err := encrypt(mustKey(t, message.ChainETH), "testpassword", 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	const text = `"ciphertext": "`
	for name, raw := range map[string]string{
		"no JSON":           "key",
		"older version":     strings.Replace(exampleScrypt, `"version":3`, `"version":1`, 1),
		"another cipher":    strings.Replace(exampleScrypt, "aes-128-ctr", "aes-256-gcm", 1),
		"endless scrypt":    strings.Replace(exampleScrypt, "262144", "1073741824", 1),
		"wide scrypt":       strings.Replace(exampleScrypt, `"r":1`, `"r":99999999`, 1),
		"endless pbkdf2":    strings.Replace(examplePBKDF2, "262144", "2000000000", 1),
		"unknown stretch":   strings.Replace(exampleScrypt, `"kdf":"scrypt"`, `"kdf":"argon9"`, 1),
		"salt is no hex":    strings.Replace(exampleScrypt, "ab0c", "zz0c", 1),
		"short iv":          strings.Replace(exampleScrypt, "83dbcc", "", 1),
		"key is longer":     strings.Replace(string(sealed), text, text+"00", 1),
		"mac is longer":     strings.Replace(string(sealed), `"mac": "`, `"mac": "00`, 1),
		"length of the key": strings.Replace(exampleScrypt, `"dklen":32`, `"dklen":8`, 1),
	} {
		if key, err := Decrypt([]byte(raw), "testpassword", ""); err == nil {
			t.Errorf("%s: read as %s", name, key)
		}
	}
}
