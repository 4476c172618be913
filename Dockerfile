# docker build .                          compiles in a container of Go
# docker build --build-arg FROM=dist .    takes the binaries of make dist
ARG FROM=compiled

FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26-alpine AS compiled
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION=dev
ENV CGO_ENABLED=0 GOMIPS=softfloat GOMIPS64=softfloat
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY *.go ./
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
	go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /pico-tracker .

FROM scratch AS dist
ARG TARGETOS
ARG TARGETARCH
# Of ARM only: v5, v6 or v7.
ARG TARGETVARIANT
COPY dist/pico-tracker-$TARGETOS-$TARGETARCH$TARGETVARIANT /pico-tracker

FROM $FROM AS binary

FROM scratch
COPY --from=binary /pico-tracker /pico-tracker
# Numeric, for there is no file that has names of users.
USER 6969:6969
EXPOSE 1337/udp
# What the same variables would start, as a client sees it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5s CMD ["/pico-tracker", "-probe", "self"]
ENTRYPOINT ["/pico-tracker"]
