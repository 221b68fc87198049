// The target of a gRPC call, as the filter encodes it for Envoy.

/** The texts of protobuf fields with one-byte tags and lengths of up to two bytes. */
function fields(bytes) {
  const texts = {};
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at];
    let size = bytes[at + 1];
    at += 2;
    if (size >= 0x80) size += (bytes[at++] - 1) * 0x80;
    texts[tag >> 3] = bytes.subarray(at, at + size);
    at += size;
  }
  return texts;
}

/** Cluster and authority of a GrpcService with an envoy_grpc. Envoy also accepts a bare name, unless that parses as a message. */
export function grpcTarget(bytes) {
  const envoyGrpc = fields(bytes)[1];
  if (!envoyGrpc || bytes[0] !== 10) return undefined;
  const { 1: cluster, 2: authority } = fields(envoyGrpc);
  return { cluster: String(cluster), authority: String(authority) };
}
