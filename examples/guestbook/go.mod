module corten.dev/examples/guestbook

go 1.24
