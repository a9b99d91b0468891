package thumb

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/webp"
)

const jpegQuality = 85

// Make decodes an image that Inspect has passed and returns a thumbnail of it with its
// content type. A broken image is ErrNotImage.
func Make(src io.ReadSeeker, info Info, s Spec) (out []byte, contentType string, err error) {
	defer func() {
		// Nobody vouches for the decoders either.
		if p := recover(); p != nil {
			out, contentType, err = nil, "", fmt.Errorf("%w: the decoder panics: %v", ErrNotImage, p)
		}
	}()
	if info.Moving(s) {
		if out, err := animate(src, info, s); err == nil {
			return out, GIF.ContentType(), nil
		}
		// Too long, or broken after the first picture: that one then.
	}
	img, err := decode(src, info)
	if err != nil {
		return nil, "", err
	}
	w, h := info.Width, info.Height
	if info.orientation >= 5 {
		w, h = h, w
		s.Width, s.Height = s.Height, s.Width
	}
	if b := img.Bounds(); b.Dx() != w || b.Dy() != h {
		return nil, "", fmt.Errorf("%w: the header says %d × %d, the picture is %d × %d", ErrNotImage, w, h, b.Dx(), b.Dy())
	}
	part, size := s.fit(w, h)
	return encode(turn(shrink(img, part, size), info.orientation), info.Kind)
}

// decode returns the first picture.
func decode(src io.ReadSeeker, info Info) (image.Image, error) {
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var img image.Image
	var err error
	r := bufio.NewReaderSize(src, 64<<10)
	switch info.Kind {
	case JPEG:
		img, err = jpeg.Decode(r)
	case PNG:
		img, err = png.Decode(r)
	case GIF:
		img, err = gif.Decode(r)
		if err == nil {
			img = onCanvas(img, info, img.Bounds().Min)
		}
	case WebP:
		if info.Animated {
			return decodeFrame(src, info)
		}
		img, err = webp.Decode(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotImage, err)
	}
	return img, nil
}

// decodeFrame decodes the first frame of an animated WebP.
func decodeFrame(src io.ReadSeeker, info Info) (image.Image, error) {
	file, x, y, err := firstFrame(src)
	if err != nil {
		return nil, err
	}
	frame, err := Inspect(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	if frame.Animated || x+frame.Width > info.Width || y+frame.Height > info.Height {
		return nil, ErrNotImage
	}
	img, err := webp.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotImage, err)
	}
	return onCanvas(img, info, image.Pt(x, y)), nil
}

// onCanvas puts a picture that may be smaller than the image in its place.
func onCanvas(img image.Image, info Info, at image.Point) image.Image {
	b := img.Bounds()
	if b.Dx() == info.Width && b.Dy() == info.Height {
		return img
	}
	canvas := image.NewRGBA(image.Rect(0, 0, info.Width, info.Height))
	draw.Draw(canvas, image.Rectangle{at, at.Add(b.Size())}, img, b.Min, draw.Src)
	return canvas
}

// encode writes photos as JPEG and everything else as PNG.
func encode(img *image.RGBA, kind Kind) ([]byte, string, error) {
	var out bytes.Buffer
	if kind == JPEG || kind == WebP && img.Opaque() {
		err := jpeg.Encode(&out, img, &jpeg.Options{Quality: jpegQuality})
		return out.Bytes(), JPEG.ContentType(), err
	}
	err := png.Encode(&out, img)
	return out.Bytes(), PNG.ContentType(), err
}

// turn undoes an EXIF orientation.
func turn(src *image.RGBA, orientation int) *image.RGBA {
	if orientation <= 1 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	dw, dh := w, h
	if orientation >= 5 {
		dw, dh = h, w
	}
	dst := image.NewRGBA(image.Rect(0, 0, dw, dh))
	for y := range dh {
		for x := range dw {
			sx, sy := x, y
			switch orientation {
			case 2:
				sx = w - 1 - x
			case 3:
				sx, sy = w-1-x, h-1-y
			case 4:
				sy = h - 1 - y
			case 5:
				sx, sy = y, x
			case 6:
				sx, sy = y, h-1-x
			case 7:
				sx, sy = w-1-y, h-1-x
			case 8:
				sx, sy = w-1-y, x
			}
			from := src.Pix[sy*src.Stride+4*sx:]
			copy(dst.Pix[y*dst.Stride+4*x:], from[:4])
		}
	}
	return dst
}
