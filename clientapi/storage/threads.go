package storage

import (
	"context"
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	upsertThread = `INSERT INTO thread_subscription (pos, localpart, room, thread, subscribed, automatic, seen)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (localpart, room, thread) DO UPDATE
		SET pos = excluded.pos, subscribed = excluded.subscribed, automatic = excluded.automatic, seen = excluded.seen`
	selectThread = `SELECT subscribed, automatic, seen, pos FROM thread_subscription
		WHERE localpart = $1 AND room = $2 AND thread = $3`
	seeThread      = `UPDATE thread_subscription SET seen = $4 WHERE localpart = $1 AND room = $2 AND thread = $3`
	countThreads   = `SELECT count(*) FROM thread_subscription WHERE localpart = $1`
	changedThreads = `SELECT room, thread, subscribed, automatic, pos FROM thread_subscription
		WHERE localpart = $1 AND pos > $2 AND pos <= $3 ORDER BY pos DESC LIMIT $4`
)

// threadRow is a row of the table, known if it is there.
type threadRow struct {
	userapi.ThreadSubscription
	seen  int64
	known bool
}

func thread(q store.Queryer, localpart, room, root string) (threadRow, error) {
	t := threadRow{ThreadSubscription: userapi.ThreadSubscription{RoomID: room, ThreadID: root}}
	err := q.Row(selectThread, localpart, room, root).Scan(&t.Subscribed, &t.Automatic, &t.seen, &t.Pos)
	t.known = err == nil
	if errors.Is(err, store.ErrNoRows) {
		err = nil
	}
	return t, err
}

// put stores a row under a new log position.
func (t threadRow) put(tx *Tx, localpart string) error {
	t.Pos = tx.log(localpart, userapi.Entry{Kind: userapi.KindThread, Thread: &t.ThreadSubscription})
	t.ThreadSubscription.Pos = t.Pos
	return tx.Exec(upsertThread, t.Pos, localpart, t.RoomID, t.ThreadID, t.Subscribed, t.Automatic, t.seen)
}

// Subscribe subscribes to a thread, of which a user may have limit.
func (u *Users) Subscribe(ctx context.Context, localpart string, req *userapi.SubscribeRequest, limit int64) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		t, err := thread(tx, localpart, req.RoomID, req.ThreadID)
		switch {
		case err != nil:
			return err
		case t.Subscribed && (req.Automatic || !t.Automatic):
			return nil
		case t.known && !t.Subscribed && req.Automatic && req.Cause <= t.seen:
			return merr.New(http.StatusConflict, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
				"The thread was unsubscribed after the event that causes the subscription")
		case !t.known:
			if n, err := count(tx, countThreads, localpart); err != nil {
				return err
			} else if n >= limit {
				return merr.Forbidden("This account has subscribed to too many threads")
			}
		}
		t.Subscribed, t.Automatic = true, req.Automatic
		return t.put(tx, localpart)
	})
}

// Unsubscribe ends a subscription. If it has ended before, the user knows of more events now.
func (u *Users) Unsubscribe(ctx context.Context, localpart string, req *userapi.UnsubscribeRequest) error {
	return u.write(ctx, func(tx *Tx) error {
		t, err := thread(tx, localpart, req.RoomID, req.ThreadID)
		if err != nil || !t.known {
			return err
		}
		t.seen = max(t.seen, req.Seen)
		if !t.Subscribed {
			return tx.Exec(seeThread, localpart, req.RoomID, req.ThreadID, t.seen)
		}
		t.Subscribed, t.Automatic = false, false
		return t.put(tx, localpart)
	})
}

// Subscription returns a subscription, 404 M_NOT_FOUND if there is none.
func (u *Users) Subscription(ctx context.Context, localpart, room, root string) (userapi.ThreadSubscription, error) {
	var t threadRow
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		t, err = thread(r, localpart, room, root)
		return err
	})
	if err == nil && !t.Subscribed {
		err = merr.NotFound("The thread is not subscribed")
	}
	return t.ThreadSubscription, err
}

// ChangedSubscriptions lists what changed after a position and up to another (0: the head), the
// latest first.
func (u *Users) ChangedSubscriptions(ctx context.Context, localpart string, after, upTo int64, limit int) (*userapi.ChangedSubscriptionsResponse, error) {
	head := u.db.Head() // taken first, so that the snapshot below has everything up to it
	if upTo == 0 || upTo > head {
		upTo = head
	}
	page := &userapi.ChangedSubscriptionsResponse{}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(changedThreads, localpart, after, upTo, limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t userapi.ThreadSubscription
			if err := rows.Scan(&t.RoomID, &t.ThreadID, &t.Subscribed, &t.Automatic, &t.Pos); err != nil {
				return err
			}
			if len(page.Threads) == limit {
				page.More = true
				return nil
			}
			page.Threads = append(page.Threads, t)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}
