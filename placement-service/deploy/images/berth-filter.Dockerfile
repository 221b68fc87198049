# The filter as an image that Istio, Envoy Gateway and image volumes read: one layer with plugin.wasm at its root (the
# "compat" variant of the Wasm image specification). It cannot be run.
FROM scratch
COPY plugin.wasm /
