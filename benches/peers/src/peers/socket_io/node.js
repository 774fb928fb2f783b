// A node of socket.io with its Redis adapter, as its documentation has it. What the load
// says to it, and what it reports, is in ../node.rs.
import { createServer } from "node:http";
import net from "node:net";
import { createAdapter } from "@socket.io/redis-adapter";
import { Adapter } from "socket.io-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const SIZE = 64;
let load;
let published = 0n;
let isSubscriber = false;

const hex = (number) => number.toString(16).padStart(16, "0");
const message = (number, sent) => `${hex(number)} ${hex(sent)} `.padEnd(SIZE, "-");

// What the adapter has taken from Redis, it hands to the rooms of this node here.
const broadcast = Adapter.prototype.broadcast;
Adapter.prototype.broadcast = function (packet, options) {
  const now = process.hrtime.bigint();
  const text = packet.data?.[1];
  if (isSubscriber && typeof text === "string") {
    const number = BigInt("0x" + text.slice(0, 16));
    const sent = BigInt("0x" + text.slice(17, 33));
    if (text !== message(number, sent)) load.destroy();
    const report = Buffer.alloc(16);
    report.writeBigUInt64LE(number, 0);
    report.writeBigUInt64LE(now > sent ? now - sent : 0n, 8);
    load.write(report);
  }
  return broadcast.call(this, packet, options);
};

const publisher = createClient({ url: process.argv[2] });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);
const io = new Server(createServer(), { adapter: createAdapter(publisher, subscriber) });
// Subscribed: the adapter does it when its namespace is made, and Redis answers in order.
await subscriber.ping();

const server = net.createServer({ noDelay: true }, (socket) => {
  load = socket;
  socket.on("error", () => {});
  socket.on("data", (orders) => {
    for (const order of orders) {
      if (order === 0x6d) {
        published += 1n;
        io.emit("message", message(published, process.hrtime.bigint()));
      } else {
        isSubscriber = order === 0x73;
        socket.write("r");
      }
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listening 127.0.0.1:${server.address().port}`));
