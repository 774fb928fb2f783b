// WebSockets by Bun (uWebSockets): binary messages go back, texts to everybody.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("hello, world!");
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) { socket.subscribe("room"); },
    message(socket, message) {
      if (typeof message === "string") server.publish("room", message);
      else socket.send(message);
    },
  },
});
console.log("listening 127.0.0.1:" + server.port);
