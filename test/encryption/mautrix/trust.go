package main

import (
	"context"
	"fmt"
	"os"

	"maunium.net/go/mautrix/crypto/backup"
	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// protect makes cross-signing keys and a secret storage, and returns its recovery key.
func (d *device) protect(ctx context.Context) (string, error) {
	recovery, _, err := d.machine.GenerateAndUploadCrossSigningKeysWithPassword(ctx, d.password, "")
	if err != nil {
		return "", err
	}
	if err := d.machine.SignOwnDevice(ctx, d.machine.OwnIdentity()); err != nil {
		return "", err
	}
	return recovery, d.machine.SignOwnMasterKey(ctx)
}

// restore signs the device with the keys of the secret storage, and reads the backup.
func (d *device) restore(ctx context.Context, recovery string) (any, error) {
	if err := d.machine.VerifyWithRecoveryKey(ctx, recovery); err != nil {
		return nil, err
	}
	keyID, data, err := d.machine.SSSS.GetDefaultKeyData(ctx)
	if err != nil {
		return nil, err
	}
	key, err := data.VerifyRecoveryKey(keyID, recovery)
	if err != nil {
		return nil, err
	}
	secret, err := d.machine.SSSS.GetDecryptedAccountData(ctx, event.AccountDataMegolmBackupKey, key)
	if err != nil {
		return nil, err
	}
	backupKey, err := backup.MegolmBackupKeyFromBytes(secret)
	if err != nil {
		return nil, err
	}
	version, err := d.machine.DownloadAndStoreLatestKeyBackup(ctx, backupKey)
	return version, err
}

// signed is whether the owner of a device has signed it.
func (d *device) signed(ctx context.Context, a *args) (bool, error) {
	user, dev := id.UserID(a.User), id.DeviceID(a.Device)
	found, err := d.machine.CryptoStore.GetDevice(ctx, user, dev)
	if err != nil || found == nil {
		return false, err
	}
	keys, err := d.machine.GetCrossSigningPublicKeys(ctx, user)
	if err != nil || keys == nil {
		return false, err
	}
	return d.machine.CryptoStore.IsKeySignedBy(ctx, user, found.SigningKey, user, keys.SelfSigningKey)
}

func (d *device) follow(txn id.VerificationTransactionID, asked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.txn, d.asked, d.decimals, d.verified = txn, asked, nil, false
}

// callbacks accepts every verification. The one who asked for it starts the comparison.
type callbacks struct{ d *device }

func (c callbacks) VerificationRequested(ctx context.Context, txn id.VerificationTransactionID, _ id.UserID, _ id.DeviceID) {
	c.d.follow(txn, false)
	c.later(func() error { return c.d.helper.AcceptVerification(context.WithoutCancel(ctx), txn) })
}

func (c callbacks) VerificationReady(ctx context.Context, txn id.VerificationTransactionID, _ id.DeviceID, _, _ bool, _ *verificationhelper.QRCode) {
	c.d.mu.Lock()
	asked := c.d.txn == txn && c.d.asked
	c.d.mu.Unlock()
	if asked {
		c.later(func() error { return c.d.helper.StartSAS(context.WithoutCancel(ctx), txn) })
	}
}

func (c callbacks) VerificationCancelled(_ context.Context, _ id.VerificationTransactionID, code event.VerificationCancelCode, reason string) {
	fmt.Fprintln(os.Stderr, "verification cancelled:", code, reason)
}

func (c callbacks) VerificationDone(context.Context, id.VerificationTransactionID, event.VerificationMethod) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.verified = true
}

func (c callbacks) ShowSAS(_ context.Context, _ id.VerificationTransactionID, _ []rune, _ []string, decimals []int) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.decimals = decimals
}

// later runs what the library may not be asked within a callback.
func (c callbacks) later(f func() error) {
	go func() {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, "verification:", err)
		}
	}()
}
