// A real OpenID provider for the end-to-end tests: `node provider.mjs` prints `listening http=ADDRESS`.
// POST /control/client {redirect_uris, ...} registers the client, POST /control/rotate replaces the keys,
// GET /control/issued returns the tokens that the client received without the browser.
// The form of /interaction/... accepts the name of a user as a login: ada (staff), root (administrator) or eve
// (visitor).
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider, errors } from "oidc-provider";

const users = { ada: ["staff"], root: ["idp-admins", "staff"], eve: ["visitors"] };
let client = {};
let provider;
let handle;
const issued = [];

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

// In memory, and kept when the keys are replaced: users stay logged in at the provider.
const records = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { records.set(this.key(id), payload); }
  async find(id) { return records.get(this.key(id)); }
  async findByUid(uid) {
    for (const [key, value] of records) if (key.startsWith("Session:") && value.uid === uid) return value;
    return undefined;
  }
  async findByUserCode() { return undefined; }
  async consume(id) { records.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { records.delete(this.key(id)); }
  async revokeByGrantId(grant) {
    for (const [key, value] of records) if (value.grantId === grant) records.delete(key);
  }
}

function start(issuer) {
  provider = new Provider(issuer, {
    adapter: Adapter,
    clients: [{
      client_id: "berth", client_secret: "the secret of the client", grant_types: ["authorization_code"],
      backchannel_logout_session_required: true, ...client,
    }],
    jwks: { keys: [newKey()] },
    cookies: { keys: ["a key of the tests"] },
    claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        // The default page needs a script.
        logoutSource: (ctx, form) => {
          ctx.body = `<html><head><link rel="icon" href="data:,"></head><body>${form}<button form="op.logoutForm" name="logout" value="yes">Log out here, too</button></body></html>`;
        },
      },
    },
    findAccount: (ctx, id) => users[id] && {
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: users[id] }),
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    // The default implementation rejects loopback addresses, where the site of the tests is.
    fetch: (url, { dispatcher, ...options }) => {
      if (options.body) issued.push(options.body.get("logout_token"));
      return fetch(url, options);
    },
    pkce: { required: () => true },
    ttl: { AccessToken: 60, AuthorizationCode: 60, IdToken: 60, Interaction: 600, Session: 600, Grant: 600 },
  });
  provider.on("backchannel.error", (ctx, error) => console.error("back-channel logout", error));
  provider.on("server_error", (ctx, error) => console.error(error));
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === "token" && ctx.status === 200) issued.push(ctx.body.access_token, ctx.body.id_token);
  });
  handle = provider.callback();
}

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}

async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === "GET" && details.prompt.name === "login") {
    response.setHeader("content-type", "text/html");
    return response.end(`<link rel="icon" href="data:,"><form method="post" action="/interaction/${details.uid}"><input name="login"><button>Log in</button></form>`);
  }
  if (details.prompt.name === "login") {
    const login = new URLSearchParams(await body(request)).get("login");
    const result = users[login] ? { login: { accountId: login } } : { error: "access_denied" };
    return provider.interactionFinished(request, response, result);
  }
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope("openid profile");
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const server = createServer(async (request, response) => {
  try {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    if (request.url === "/control/client") {
      client = JSON.parse(await body(request));
      start(issuer);
      response.end();
    } else if (request.url === "/control/rotate") {
      start(issuer);
      response.end();
    } else if (request.url === "/control/issued") {
      response.end(JSON.stringify(issued));
    } else if (request.url.startsWith("/interaction/")) {
      await interaction(request, response);
    } else {
      handle(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = error instanceof errors.SessionNotFound ? 400 : 500;
    response.end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  start(`http://127.0.0.1:${port}`);
  console.log(`listening http=127.0.0.1:${port}`);
});
