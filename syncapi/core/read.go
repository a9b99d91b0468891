package core

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
)

// receiptPage is the number of receipts that are read at a time.
const receiptPage = 1000

// ReadReceipts reads all receipts that req asks for; its After and Limit are used.
func ReadReceipts(ctx context.Context, s Source, req roomapi.ReceiptsRequest) ([]*roomapi.Receipt, error) {
	req.Limit = receiptPage
	var list []*roomapi.Receipt
	for {
		page, err := s.Receipts(ctx, &req)
		if err != nil {
			return nil, err
		}
		for i := range page.Receipts {
			list = append(list, &page.Receipts[i])
		}
		if !page.More || len(page.Receipts) == 0 {
			return list, nil
		}
		req.After = page.Receipts[len(page.Receipts)-1].Pos
	}
}

// ReadAccountData reads all account data that req asks for; UpTo must be set.
func ReadAccountData(ctx context.Context, s Source, req userapi.ChangedAccountDataRequest) ([]userapi.AccountData, error) {
	var list []userapi.AccountData
	for req.After < req.UpTo {
		page, err := s.AccountData(ctx, &req)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Data...)
		if !page.More || len(page.Data) == 0 {
			break
		}
		req.After = page.Data[len(page.Data)-1].Pos
	}
	return list, nil
}
