# Sallyport in a container, as an ordinary user with no capability. docs/DEPLOYMENT.md tells how to run it and what
# confines its rooms then.

FROM node:26-bookworm-slim AS build
WORKDIR /opt/sallyport
COPY package.json package-lock.json tsconfig.json tsconfig.build.json ./
COPY bin bin
COPY src src
COPY tools tools
# Compiles the sources (npm's `prepare`), then keeps what runs: two packages and a Node.js.
RUN npm ci && npm prune --omit=dev && rm -rf src tools tsconfig.json tsconfig.build.json

FROM debian:bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates libatomic1 libstdc++6 \
  && rm -rf /var/lib/apt/lists/* \
  && mkdir /etc/zerocopy-server
COPY --from=build /opt/sallyport /opt/sallyport
RUN ln -s /opt/sallyport/bin/sallyport /opt/sallyport/bin/zerocopy-server /usr/local/bin/
# Nobody else's number, and no entry in /etc/passwd: nothing here is written or owned by it.
USER 65532:65532
# The configuration, certificates and documents are mounted; ports above 1023 need no capability.
EXPOSE 8080 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sallyport"]
CMD ["serve", "-c", "/etc/zerocopy-server/config.toml"]
