# The agent: one static binary, nothing else, not root.
#   docker build -f deploy/agent.Dockerfile -t driftless-agent .
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev gcc make
WORKDIR /src
COPY . .
RUN cargo build --profile dist-agent --locked -p driftless-agent \
 && cp target/dist-agent/driftless-agent /driftless-agent

FROM scratch
COPY --from=build /driftless-agent /driftless-agent
USER 65532:65532
ENTRYPOINT ["/driftless-agent"]
