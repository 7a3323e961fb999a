// A server on centrifuge that does the least a chat does: the client's own channel, groups, and an answer to each publication.
// Usage: centrifuge-peer HOST:PORT. The user's name comes as /connection/websocket?user=NAME.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/centrifugal/centrifuge"
)

func main() {
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(ctx context.Context, _ centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		credentials, _ := centrifuge.GetCredentials(ctx)
		return centrifuge.ConnectReply{
			Subscriptions:      map[string]centrifuge.SubscribeOptions{"user:" + credentials.UserID: {}},
			WriteDelay:         5 * time.Millisecond,
			MaxMessagesInFrame: -1,
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
		client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	sockets := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize:             512,
		UseWriteBufferPool:         true,
		ProcessCommandsOffReadLoop: true,
		MessageSizeLimit:           1 << 20,
	})
	http.HandleFunc("/connection/websocket", func(w http.ResponseWriter, r *http.Request) {
		credentials := &centrifuge.Credentials{UserID: r.URL.Query().Get("user")}
		sockets.ServeHTTP(w, r.WithContext(centrifuge.SetCredentials(r.Context(), credentials)))
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
