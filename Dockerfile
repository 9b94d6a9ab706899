# The image: a static binary, the certificates of the public authorities, and nothing else. `cargo test --test image` runs these
# commands as well, and the binary in a root file system with the files of the last stage.

# The compiler runs on the builder's own architecture and compiles for that of the image, so that nothing is emulated.
FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates clang \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install --locked cargo-auditable@0.7.7 auditable2cdx@0.1.0
WORKDIR /source
COPY . .
ARG TARGETARCH
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,id=target-$TARGETARCH \
    case "$TARGETARCH" in \
        amd64) target=x86_64-unknown-linux-musl ;; \
        arm64) target=aarch64-unknown-linux-musl ;; \
        *) echo "there is no image for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && rustup target add "$target" \
    && cargo auditable install --locked --no-track --profile "$PROFILE" --target "$target" --path . --root . \
    && auditable2cdx bin/composio-operator > bin/composio-operator.cdx.json

# What a release has besides the image: `docker build --target files --output .`
FROM scratch AS files
COPY --from=build /source/bin/ /

FROM scratch
LABEL org.opencontainers.image.title="composio-operator" \
      org.opencontainers.image.description="A Kubernetes operator that manages Composio projects as custom resources" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/LICENSE /LICENSE
COPY --from=build /source/bin/composio-operator /composio-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/composio-operator"]
