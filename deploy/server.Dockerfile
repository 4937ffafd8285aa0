# The `driftless` binary: server and CLI. Static, not root; its one writable folder is /data.
#   docker build -f deploy/server.Dockerfile -t driftless .
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev gcc make
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked -p driftless-cli \
 && cp target/dist/driftless /driftless \
 && mkdir -p /empty/data /empty/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /empty/data /data
COPY --from=build --chown=65532:65532 /empty/tmp /tmp
COPY --from=build /driftless /driftless
USER 65532:65532
EXPOSE 7443
VOLUME /data
ENTRYPOINT ["/driftless"]
CMD ["server", "--data", "/data", "--listen", "0.0.0.0:7443"]
